/** What operators and fate do to a director while it works. */
import { server, service } from "../support/director.js";
import { ADDRESSES, MORTAL, type Ran, type Site, STEADY, VIP, type Weights } from "./site.js";

/** A mortal server that was down: clients may fail from `began` until its checks had found it, at `found`. */
export interface Outage {
  readonly server: string;
  readonly how: "killed" | "cut off";
  readonly began: number;
  found: number;
  returned: number;
}

const SCHEDULERS = ["rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "lblc", "mh", "maglev"];
/** How long checks may take to find a server dead, or alive, on a machine that is busy. */
const FOUND_MS = 30_000;
/** Longer than a visitor keeps a connection, unless the machine is very busy. */
const DRAIN_SECONDS = 60;

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export class Operator {
  readonly outages: Outage[] = [];
  /** What was done, by name. */
  readonly done: Record<string, number> = {};
  readonly problems: string[] = [];
  ending = false;
  private readonly site: Site;
  private weights: Weights = { pages: [1, 1], streams: [1, 1], datagrams: [1, 1] };
  private turn = 0;
  /** A reload undoes what is not in the file: it waits for whoever is in the middle of something, and a drain as well. */
  private quiet: Promise<void> = Promise.resolve();

  constructor(site: Site) {
    this.site = site;
  }

  /** Until the mortal servers are known to be alive. */
  async ready(): Promise<void> {
    for (const address of MORTAL) {
      await this.until(async () => {
        const health = await this.site.remote.health();
        return health.some((one) => one.server.startsWith(`${address}:`) && one.state === "up");
      }, `${address} is up`);
    }
  }

  /** Until `ending`: everything but what happens to servers, one after the other. */
  async changes(pauseMs: number): Promise<void> {
    const steps = [
      () => this.alone(() => this.batch()),
      () => this.alone(() => this.weigh()),
      () => this.alone(() => this.calls()),
      () => this.offload(),
      () => this.alone(() => this.reload()),
      () => this.alone(() => this.batch()),
      () => this.alone(() => this.badReload()),
    ];
    for (let n = 0; !this.ending; n++) {
      await this.attempt(steps[n % steps.length]!);
      await this.rest(pauseMs);
    }
    await this.attempt(() => this.site.offload(true));
  }

  /** Until `ending`: servers die and return, or are drained. */
  async fates(pauseMs: number): Promise<void> {
    const steps = [() => this.outage("killed"), () => this.alone(() => this.drain()), () => this.outage("cut off")];
    for (let n = 0; !this.ending; n++) {
      await this.attempt(steps[n % steps.length]!);
      await this.rest(pauseMs);
    }
  }

  /** Until `ending`: everything that can be listed. */
  async listings(pauseMs: number): Promise<void> {
    const { site } = this;
    const steps: ReadonlyArray<readonly [string, () => Promise<Ran>]> = [
      ["-Ln --stats", () => site.wlvsadm(["-Ln", "--stats"])],
      ["-Lnc", () => site.wlvsadm(["-Lnc"])],
      ["-Ln --rate", () => site.wlvsadm(["-Ln", "--rate"])],
      ["status --json", () => site.wlvs("status", "--json")],
      ["-Sn", () => site.wlvsadm(["-Sn"])],
      ["proc ip_vs_conn", () => site.wlvs("proc", "ip_vs_conn")],
    ];
    for (let n = 0; !this.ending; n++) {
      const [name, run] = steps[n % steps.length]!;
      await this.attempt(async () => {
        const { status, out, err } = await run();
        if (status !== 0 || err !== "") throw new Error(`${name}: status ${status} ${err}`);
        if (!out.includes(name === "proc ip_vs_conn" ? "Pro" : VIP)) throw new Error(`${name} says nothing`);
        this.count("listings");
      });
      await this.rest(pauseMs);
    }
  }

  private count(what: string): void {
    this.done[what] = (this.done[what] ?? 0) + 1;
  }

  private async attempt(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.problems.push((error as Error).message);
    }
  }

  async rest(ms: number): Promise<void> {
    for (let left = ms; left > 0 && !this.ending; left -= 100) await pause(Math.min(100, left));
  }

  private alone(step: () => Promise<void>): Promise<void> {
    const mine = this.quiet.then(step);
    this.quiet = mine.catch(() => {});
    return mine;
  }

  private must(what: string, { status, err }: Ran): void {
    if (status !== 0 || err !== "") throw new Error(`${what}: status ${status} ${err.trim()}`);
  }

  /** Services of no traffic: added, edited, emptied and taken away, all in one batch. */
  private async batch(): Promise<void> {
    const lines: string[] = [];
    const removals: string[] = [];
    for (let n = 0; n < 20; n++) {
      const port = 20_000 + n;
      const scheduler = SCHEDULERS[(this.turn + n) % SCHEDULERS.length]!;
      const name = n % 5 === 4 ? `-f ${n + 1}` : n % 3 === 0 ? `-u ${VIP}:${port}` : `-t ${VIP}:${port}`;
      lines.push(`-A ${name} -s ${scheduler}${n % 4 === 0 ? " -p 60" : ""}`);
      for (const address of ADDRESSES) lines.push(`-a ${name} -r ${address}${n % 5 === 4 ? "" : `:${port}`} -m -w 3`);
      lines.push(`-e ${name} -r ${ADDRESSES[0]}${n % 5 === 4 ? "" : `:${port}`} -m -w 0`, `-E ${name} -s wrr`);
      lines.push(`-d ${name} -r ${ADDRESSES[1]}${n % 5 === 4 ? "" : `:${port}`}`);
      removals.push(`-D ${name}`);
    }
    this.turn++;
    this.must("wlvsadm -R", await this.site.wlvsadm(["-R"], `${[...lines, ...removals].join("\n")}\n`));
    this.count("batches of 160 rules");
  }

  /** The same by single calls of the API. */
  private async calls(): Promise<void> {
    const { remote } = this.site;
    for (let n = 0; n < 40; n++) {
      const { id } = service(30_000 + n);
      const own = { ...service(30_000 + n, SCHEDULERS[n % SCHEDULERS.length]), id: { ...id, address: VIP } };
      await remote.addService(own);
      for (const address of ADDRESSES) await remote.addServer(own.id, server(address, 80));
      await remote.editServer(own.id, { ...server(ADDRESSES[0]!, 80), weight: 9 });
      await remote.removeServer(own.id, server(ADDRESSES[1]!, 80).id);
      await remote.removeService(own.id);
    }
    this.count("rounds of 320 API calls");
  }

  /** Servers that traffic depends on get more, less, or nothing new of it. */
  private async weigh(): Promise<void> {
    const weight = (n: number) => [3, 0, 1, 5, 2][(this.turn + n) % 5]!;
    for (const [n, name] of [`-t ${VIP}:80`, `-t ${VIP}:9000`, `-u ${VIP}:7000`].entries()) {
      const port = name.split(":")[1]!;
      const words = (address: string, value: number) => `-e ${name} -r ${address}:${port} -m -w ${value}`.split(" ");
      // One of them always takes clients.
      const first = weight(n);
      this.must("wlvsadm -e", await this.site.wlvsadm(words(STEADY[1], first === 0 ? 4 : weight(n + 2))));
      this.must("wlvsadm -e", await this.site.wlvsadm(words(STEADY[0], first)));
    }
    this.count("weights set");
  }

  private async offload(): Promise<void> {
    await this.site.offload((this.done["offload switched"] ?? 0) % 2 === 1);
    this.count("offload switched");
  }

  private async reload(): Promise<void> {
    const pair = (n: number) => [1 + ((this.turn + n) % 4), 1 + ((this.turn + n + 2) % 5)] as const;
    this.weights = { pages: pair(0), streams: pair(1), datagrams: pair(2) };
    this.site.write(this.weights);
    this.must("wlvs reload", await this.site.wlvs("reload"));
    this.count("reloads");
  }

  private async badReload(): Promise<void> {
    this.site.write(this.weights, "    schedular: rr\n");
    const { status, err } = await this.site.wlvs("reload");
    this.site.write(this.weights);
    if (status !== 1 || !err.includes("schedular")) throw new Error(`a bad file: status ${status} ${err}`);
    this.count("bad files refused");
  }

  private async drain(): Promise<void> {
    const { status, err } = await this.site.wlvs("drain", MORTAL[0], "--timeout", `${DRAIN_SECONDS}`);
    await this.reload();
    if (status !== 0) throw new Error(`wlvs drain: status ${status} ${err.trim()}`);
    this.count("drains");
  }

  private async outage(how: Outage["how"]): Promise<void> {
    const { site } = this;
    const address = MORTAL[1];
    const outage: Outage = { server: address, how, began: Date.now(), found: 0, returned: 0 };
    this.outages.push(outage);
    if (how === "killed") site.kill(address);
    else site.cut(address);
    await this.until(async () => !(await this.isInTable(address)), `${address}, ${how}, leaves the table`);
    outage.found = Date.now();
    await this.rest(3000);
    if (how === "killed") await site.revive(address);
    else site.mend(address);
    await this.until(() => this.isInTable(address), `${address} comes back`);
    outage.returned = Date.now();
    this.count(`servers ${how}`);
  }

  private async isInTable(address: string): Promise<boolean> {
    const services = await this.site.remote.services();
    return services.some(
      ({ id, servers }) => "port" in id && id.port === 81 && servers.some((one) => one.id.address === address),
    );
  }

  private async until(condition: () => Promise<boolean>, what: string): Promise<void> {
    const limit = performance.now() + FOUND_MS;
    while (!(await condition())) {
      if (performance.now() > limit) throw new Error(`not within ${FOUND_MS} ms: ${what}`);
      await pause(50);
    }
  }
}
