/**
 * Floods, one after the other, while clients go on: a director between a client's namespace and servers with nginx, and
 * what it measured of each as a record.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { machine } from "../../host/bench/figures.js";
import { RemoteIpvs } from "../../host/control/client.js";
import type { CounterInfo } from "../../host/control/director-info.js";
import { CLIENT, Farm, OUTER, PAGES, SERVERS, VIP } from "../netns/farm.js";
import { inside, ip, Network } from "../netns/network.js";

/** Clients at a time, each of which asks for a page, waits a little, and asks again. */
const CLIENTS = 3;
const MOMENT = "0.05";
const PATIENCE = "3";
const CAPACITY = 50_000;
const CLIENT_MAC = "02:00:00:00:77:10";
/** Seen from the source and from what was built of it. */
const SOURCE = ["../../bench/flood.c", "../../../bench/flood.c"]
  .map((path) => join(import.meta.dirname, path))
  .find((path) => existsSync(path))!;
/** SYN a second that are tried to find the capacity; 0: as many as there can be. */
const RATES = [50_000, 100_000, 200_000, 400_000, 0];
/** The same for other floods, until less than so large a share of it comes into the core. */
const STEPS = [25_000, 50_000, 100_000, 200_000, 400_000, 800_000];
const TAKEN = 0.9;

export const KINDS = [
  "syn",
  "ack",
  "udp",
  "fragment",
  "fragment6",
  "arp",
  "ndp",
  "spoof",
  "icmp",
  "ttl",
  "junk",
] as const;
export type Kind = (typeof KINDS)[number];

/** Which counter is a flood's own. */
export const COUNTERS: Readonly<Record<Kind, readonly [name: string, of: (counters: CounterInfo) => number]>> = {
  syn: ["cookies sent", ({ synProxy }) => synProxy.answered],
  ack: ["cookies invalid", ({ synProxy }) => synProxy.invalid],
  udp: ["evictions", ({ evictions }) => evictions],
  fragment: ["fragmentsEvicted", ({ fragmentsEvicted }) => fragmentsEvicted],
  fragment6: ["fragmentsEvicted", ({ fragmentsEvicted }) => fragmentsEvicted],
  arp: ["consumed", ({ verdicts }) => verdicts.consumed ?? 0],
  ndp: ["neighboursEvicted", ({ neighboursEvicted }) => neighboursEvicted],
  spoof: ["consumed", ({ verdicts }) => verdicts.consumed ?? 0],
  icmp: ["local-unanswered", ({ reasons }) => reasons["local-unanswered"] ?? 0],
  ttl: ["ttl-expired", ({ reasons }) => reasons["ttl-expired"] ?? 0],
  junk: ["unknown-ethertype", ({ reasons }) => reasons["unknown-ethertype"] ?? 0],
};

const ofSix = (kind: Kind) => kind === "ndp" || kind === "fragment6";

/** What honest clients ask for meanwhile. */
export function pageBeside(kind: Kind): string {
  return ofSix(kind) ? `http://[${VIP.v6}]/` : `http://${VIP.v4}/`;
}

export interface FloodRecord {
  readonly kind: Kind;
  readonly proxy: "auto" | "off" | "on";
  /** Frames a second that were asked for; 0: as many as there can be. */
  readonly asked: number;
  readonly seconds: number;
  /** Frames that left the sender, and that came into the core. */
  readonly sent: number;
  readonly arrived: number;
  readonly clients: { readonly served: number; readonly failed: number; readonly slowest: number };
  readonly counter: { readonly name: string; readonly value: number };
  /** MiB that the director and its processes had more at the end, and connections in the table. */
  readonly grown: number;
  readonly connections: number;
  readonly logged: number;
}

export interface Floods {
  readonly date: string;
  readonly version: string;
  readonly kernel: string;
  readonly node: string;
  readonly processors: number;
  /** SYN a second that were answered, at the rates that were tried. */
  readonly tried: ReadonlyArray<{ readonly asked: number; readonly sent: number; readonly answered: number }>;
  readonly capacity: number;
  readonly floods: readonly FloodRecord[];
}

/** A farm with the sender of floods in its client's namespace. */
export class Ground {
  readonly network = new Network();
  readonly farm = new Farm(this.network);
  readonly proxy: FloodRecord["proxy"];
  private mac = "";

  constructor(proxy: FloodRecord["proxy"]) {
    this.proxy = proxy;
  }

  async open(): Promise<void> {
    const { farm, network } = this;
    const { status, stderr } = spawnSync("gcc", ["-O2", "-o", network.path("flood"), SOURCE], { encoding: "utf8" });
    if (status !== 0) throw new Error(`gcc: ${stderr}`);
    await farm.serve();
    await farm.start(
      ...["--syn-proxy", this.proxy, "--max-connections", `${CAPACITY}`],
      // Without it whoever lies last has the client's frames, as on any network.
      ...(this.proxy === "off" ? [] : ["--neigh", `${CLIENT.v4},${CLIENT_MAC},dev=${farm.outer}`]),
      ...["--vip", `${VIP.v4}:80`, "--rip", `${SERVERS[0]!.v4}:${PAGES}`],
      ...["--vip", `[${VIP.v6}]:80`, "--rip", `[${SERVERS[0]!.v6}]:${PAGES}`],
      ...["--vip", `${VIP.v4}:7000/udp`, "--rip", SERVERS[0]!.v4],
    );
    ip("-n", farm.client, "link", "set", farm.outer, "address", CLIENT_MAC);
    this.mac = (await this.ipvs().ports())[0]!.mac!;
    for (const host of [VIP.v4, `[${VIP.v6}]`]) {
      await farm.curl(farm.client, `http://${host}/`, "--retry", "20", "--retry-all-errors", "--retry-delay", "1");
    }
  }

  async close(): Promise<void> {
    await this.farm.stop();
    this.network.close();
  }

  ipvs(): RemoteIpvs {
    return new RemoteIpvs(this.farm.socket);
  }

  /** One flood from the client, of so many frames a second; resolves to how many were sent. */
  async flood(kind: Kind, rate: number, seconds: number): Promise<number> {
    const { farm } = this;
    const targets: Partial<Record<Kind, string>> = {
      arp: OUTER.v4,
      ndp: OUTER.v6,
      fragment6: OUTER.v6,
      spoof: CLIENT.v4,
    };
    const vip = ofSix(kind) ? VIP.v6 : VIP.v4;
    const words = [farm.outer, this.mac, kind, targets[kind] ?? SERVERS[1]!.v4, vip, `${rate}`, `${seconds}`];
    return Number(await inside(farm.client, this.network.path("flood"), ...words));
  }

  /** SYN a second that are answered when so many are sent, with nobody else there. */
  async answered(rate: number, seconds: number): Promise<{ asked: number; sent: number; answered: number }> {
    const before = await this.ipvs().counters();
    const sent = await this.flood("syn", rate, seconds);
    const after = await this.ipvs().counters();
    const answered = after.synProxy.answered - before.synProxy.answered;
    return { asked: rate, sent: Math.round(sent / seconds), answered: Math.round(answered / seconds) };
  }

  /** Frames of a kind that come into the core in a second, at most, with nobody else there. */
  async taken(kind: Kind, seconds: number): Promise<number> {
    let most = 0;
    for (const rate of STEPS) {
      const before = await this.ipvs().counters();
      const sent = await this.flood(kind, rate, seconds);
      const after = await this.ipvs().counters();
      const arrived = after.framesIn - before.framesIn;
      most = Math.max(most, Math.round(arrived / seconds));
      if (arrived < TAKEN * sent) break;
    }
    return most;
  }

  /** Resident kilobytes of the keeper and what it started. */
  resident(): number {
    const of = (pid: number): number => {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
      const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
      return Number(kilobytes) + children.reduce((sum, child) => sum + of(child), 0);
    };
    return of(this.farm.director!.child.pid!);
  }

  /** Asks for pages until the time is over: a line for each, its status and the seconds that it took. */
  private visitor(url: string, seconds: number): Promise<string> {
    const script =
      `while [ $SECONDS -lt ${seconds} ]; do ` +
      `curl -gso /dev/null --max-time ${PATIENCE} -w '%{http_code} %{time_total}\\n' '${url}'; sleep ${MOMENT}; done; true`;
    return inside(this.farm.client, "bash", "-c", script);
  }

  async run(kind: Kind, rate: number, seconds: number): Promise<FloodRecord> {
    const director = this.farm.director!;
    const [name, of] = COUNTERS[kind];
    const before = await this.ipvs().counters();
    const memory = this.resident();
    const logged = director.stderr.split("\n").length;
    const flooding = this.flood(kind, rate, seconds);
    const visitors = Array.from({ length: CLIENTS }, () => this.visitor(pageBeside(kind), seconds));
    const [sent, ...told] = await Promise.all([flooding, ...visitors]);
    const pages = told
      .flatMap((text) => text.split("\n").filter(Boolean))
      .map((line) => line.split(" ") as [string, string]);
    const served = pages.filter(([status]) => status === "200").length;
    const after = await this.ipvs().counters();
    const { connections } = await this.ipvs().status();
    return {
      kind,
      proxy: this.proxy,
      asked: rate,
      seconds,
      sent,
      arrived: after.framesIn - before.framesIn,
      clients: {
        served,
        failed: pages.length - served,
        slowest: Math.round(1000 * Math.max(0, ...pages.map(([, took]) => Number(took)))),
      },
      counter: { name, value: of(after) - of(before) },
      grown: Math.round((this.resident() - memory) / 102.4) / 10,
      connections: connections.used,
      logged: director.stderr.split("\n").length - logged,
    };
  }
}

export interface FloodOptions {
  /** Of each flood. */
  readonly seconds: number;
  readonly kinds: readonly Kind[];
  /** Told of each flood when it is over. */
  readonly progress: (text: string) => void;
}

const textOf = ({ kind, proxy, asked, clients, counter }: FloodRecord) =>
  `${kind}, proxy ${proxy}, ${asked === 0 ? "as many as there can be" : `${asked}/s`}: ` +
  `${clients.served} of ${clients.served + clients.failed} served, ${counter.name} ${counter.value}`;

/** One ground after the other: what is measured, then every flood with the SYN proxy, then SYN and lies without it. */
export async function floods({ seconds, kinds, progress }: FloodOptions): Promise<Floods> {
  const found: FloodRecord[] = [];
  const tried: Array<Awaited<ReturnType<Ground["answered"]>>> = [];
  let version = "";
  const on = async (proxy: FloodRecord["proxy"], work: (ground: Ground) => Promise<void>) => {
    const ground = new Ground(proxy);
    try {
      await ground.open();
      ({ version } = await ground.ipvs().status());
      await work(ground);
    } finally {
      await ground.close();
    }
  };
  const note = (record: FloodRecord) => {
    found.push(record);
    progress(textOf(record));
  };
  await on("on", async (ground) => {
    for (const rate of RATES) tried.push(await ground.answered(rate, Math.min(3, seconds)));
  });
  const capacity = Math.max(...tried.map(({ answered }) => answered));
  progress(`answers ${capacity} SYN a second at most`);
  const half = Math.round(capacity / 2);
  await on("auto", async (ground) => {
    for (const kind of kinds) {
      const rate = kind === "syn" ? half : Math.round((await ground.taken(kind, 1)) / 2);
      note(await ground.run(kind, rate, seconds));
    }
    for (const kind of kinds) note(await ground.run(kind, 0, seconds));
  });
  await on("off", async (ground) => {
    for (const kind of kinds.filter((kind) => kind === "syn" || kind === "spoof")) {
      for (const rate of [half, 0]) note(await ground.run(kind, rate, seconds));
    }
  });
  return {
    date: new Date().toISOString(),
    version,
    kernel: machine().kernel,
    node: process.version,
    processors: availableParallelism(),
    tried,
    capacity,
    floods: found,
  };
}
