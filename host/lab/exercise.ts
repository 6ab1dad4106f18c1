/** What every lab has: machines, web servers, a real director, requests, and a judge. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RemoteIpvs } from "../control/client.js";
import { LvsError } from "../errors.js";
import { runIpvsadm } from "../ipvs/command.js";
import type { Answer } from "./http-client.js";
import { findProgram, type LabNetwork, lineOf, type Running } from "./network.js";
import { type Weighted, weightedRoundRobin } from "./order.js";
import { isRootOfLab } from "./rootless.js";

export interface LabOptions {
  readonly requests: number;
  readonly servers: number;
  readonly server: "builtin" | "nginx";
  readonly keep: boolean;
  readonly failover: boolean;
  readonly listen?: string | undefined;
}

export interface LabIo {
  print(text: string): void;
  /** Resolves when the person at the terminal has seen enough (--keep). */
  readonly enough: Promise<void>;
}

export interface LabServer extends Weighted {
  readonly machine: string;
  running?: Running | undefined;
}

const START_MS = 20_000;
const ANSWER_MS = 2000;
/** The director's own address on the server side: no server may have it. */
const DIRECTOR_HOST = 130;
const FIRST_HOST = 128;
export const LARGEST_LAB = 100;

/** 192.168.2.128 of weight 1, .129 of weight 2, and so on in turn. */
export function serverList(count: number): Weighted[] {
  const list: Weighted[] = [];
  for (let host = FIRST_HOST; list.length < count; host++) {
    if (host >= DIRECTOR_HOST && host <= DIRECTOR_HOST + 3) continue;
    list.push({ address: `192.168.2.${host}`, weight: 1 + (list.length % 2) });
  }
  return list;
}

export function hasNginx(): boolean {
  return findProgram("nginx") !== undefined;
}

export class Exercise {
  readonly network: LabNetwork;
  readonly options: LabOptions;
  readonly io: LabIo;
  readonly socket: string;
  readonly director: RemoteIpvs;
  servers: LabServer[] = [];
  /** Nothing seen so far contradicts the scheduler. */
  asExpected = true;
  /** All was shown, and only waits to be looked at. */
  isKept = false;
  private asked = 0;
  private directing: Running | undefined;

  constructor(network: LabNetwork, options: LabOptions, io: LabIo) {
    this.network = network;
    this.options = options;
    this.io = io;
    this.socket = join(network.directory, "wlvs.sock");
    this.director = new RemoteIpvs(this.socket);
  }

  print(text = ""): void {
    this.io.print(`${text}\n`);
  }

  /** Runs `wlvs` as a person would: in a machine, or here. */
  wlvs(machine: string | undefined, args: readonly string[]): Running {
    const main = fileURLToPath(new URL("../cli/main.js", import.meta.url));
    return this.network.start(`wlvs ${args[0]}`, machine, [process.execPath, main, ...args]);
  }

  /** Starts the director and resolves once it forwards. */
  async startDirector(args: readonly string[]): Promise<void> {
    const { listen } = this.options;
    const common = ["--socket", this.socket, ...(listen === undefined ? [] : ["--listen", listen])];
    this.directing = this.wlvs(undefined, ["run", ...args, ...common]);
    const line = await lineOf(this.directing, /^wlvs: forwarding on /, START_MS);
    this.print(line);
    if (listen !== undefined) this.print(`http://${listen}/v1/status`);
    this.print();
  }

  async stopDirector(): Promise<void> {
    if (this.directing !== undefined) await this.network.stop(this.directing);
    // The next one's scheduler begins anew.
    this.asked = 0;
  }

  /** The last lines of the director's log, for when something went wrong. */
  log(): string {
    return this.directing?.errors() ?? "";
  }

  private checkDirector(): void {
    const how = this.directing?.ended();
    if (how !== undefined)
      throw new LvsError("ERR_LVS_DIRECTOR", `the director ended (${how}): ${this.log().split("\n").at(-1)}`);
  }

  /** Starts a server's web server and resolves once it listens. */
  async startServer(server: LabServer, listen = server.address): Promise<void> {
    const page = `I am ${server.address}`;
    if (this.options.server === "nginx") {
      server.running = await this.startNginx(server, listen, page);
      return;
    }
    const script = fileURLToPath(new URL("./http-server.js", import.meta.url));
    const command = [process.execPath, script, listen, "80", page];
    server.running = this.network.start(`web server ${server.address}`, server.machine, command);
    await lineOf(server.running, /^ready$/, START_MS);
  }

  private async startNginx(server: LabServer, listen: string, page: string): Promise<Running> {
    const at = (name: string) => join(this.network.directory, `${server.machine}-${name}`);
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    const configuration = [
      // In a user namespace there is no other user that files could be given to.
      "user root; daemon off; master_process off; worker_processes 1;",
      `pid ${at("nginx.pid")}; error_log stderr error;`,
      "events { worker_connections 512; }",
      "http {",
      ...temporary.map((name) => `  ${name}_temp_path ${at(name)};`),
      "  access_log off; default_type text/plain; keepalive_timeout 0;",
      `  server { listen ${listen}:80; location / { return 200 "${page}\\n"; } }`,
      "}",
    ];
    writeFileSync(at("nginx.conf"), `${configuration.join("\n")}\n`);
    const command = [findProgram("nginx") ?? "nginx", "-e", "stderr", "-c", at("nginx.conf")];
    const running = this.network.start(`nginx ${server.address}`, server.machine, command);
    await this.until(() => this.answers(server, listen === "0.0.0.0" ? server.address : listen), running);
    return running;
  }

  private async answers(server: LabServer, address: string): Promise<boolean> {
    const [answer] = await this.request(server.machine, `http://${address}/`, 1);
    return answer?.page !== undefined;
  }

  private async until(condition: () => Promise<boolean>, running: Running): Promise<void> {
    for (let tries = 0; tries < 50; tries++) {
      if (running.ended() !== undefined) break;
      if (await condition()) return;
    }
    throw new LvsError(
      "ERR_LVS_DIRECTOR",
      `${running.name} does not answer: ${running.errors().split("\n").at(-1) ?? ""}`,
    );
  }

  async stopServer(server: LabServer): Promise<void> {
    if (server.running !== undefined) await this.network.stop(server.running, true);
    server.running = undefined;
  }

  /** Real requests, one after the other, each a connection of its own. */
  private async request(machine: string, url: string, count: number, everyMs?: number): Promise<Answer[]> {
    const script = fileURLToPath(new URL("./http-client.js", import.meta.url));
    const pace = everyMs === undefined ? [] : [`${everyMs}`];
    const command = [process.execPath, script, url, `${count}`, `${ANSWER_MS}`, ...pace];
    const text = await this.network.output(machine, command);
    return text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Answer);
  }

  /** Asks through the VIP, prints who answered, and compares each answer with what the scheduler has to do. */
  async ask(client: string, vip: string, count: number): Promise<void> {
    this.print(`${count} ${count === 1 ? "request" : "requests"} to http://${vip}/`);
    const answers = await this.request(client, `http://${vip}/`, count);
    this.checkDirector();
    const picks = weightedRoundRobin(this.servers, this.asked + count).slice(this.asked);
    this.asked += count;
    const width = `${count}`.length;
    let wrong = 0;
    answers.forEach((answer, at) => {
      const server = this.servers.find(({ address }) => address === picks[at]);
      // Of a stopped server nothing but a refusal may come.
      const expected = server?.running === undefined ? undefined : `I am ${server.address}`;
      const right = answer.page === expected;
      if (!right) wrong++;
      const remark = right
        ? expected === undefined
          ? `  (sent to ${picks[at]}, which is stopped)`
          : ""
        : `  WRONG: wrr says ${picks[at]}`;
      this.print(`  ${`${at + 1}`.padStart(width)}  ${answer.page ?? answer.error ?? "nothing"}${remark}`);
    });
    if (answers.length !== count) wrong += count - answers.length;
    for (const { address, weight, running } of this.servers) {
      const due = picks.filter((pick) => pick === address).length;
      const got = answers.filter(({ page }) => page === `I am ${address}`).length;
      const state = running === undefined ? ", stopped" : "";
      this.print(`  ${address} (weight ${weight}${state}): ${got} answered, wrr sent it ${due} of ${count}`);
    }
    this.print(wrong === 0 ? "  just as wrr has it" : `  ${wrong} of ${count} are NOT as wrr has it`);
    this.print();
    if (wrong > 0) this.asExpected = false;
  }

  /** Asks so often, whatever comes back. */
  stream(client: string, vip: string, count: number, everyMs: number): Promise<Answer[]> {
    return this.request(client, `http://${vip}/`, count, everyMs);
  }

  /** What clients saw of a stop: failures for a while, and none after `graceMs`. */
  report(answers: readonly Answer[], stopped: number, graceMs: number): void {
    this.checkDirector();
    const failed = answers.filter(({ page }) => page === undefined);
    const last = Math.max(0, ...failed.map(({ asked }) => asked - stopped));
    const late = answers.filter(({ asked }) => asked - stopped >= graceMs);
    const lateFailed = late.filter(({ page }) => page === undefined).length;
    const early = failed.some(({ asked }) => asked < stopped - ANSWER_MS);
    this.print(`  ${answers.length} requests, ${answers.length - failed.length} answered, ${failed.length} failed`);
    if (failed.length > 0) this.print(`  the last that failed was asked ${(last / 1000).toFixed(1)} s after the stop`);
    this.print(`  of ${late.length} asked ${graceMs / 1000} s or more after the stop, ${lateFailed || "none"} failed`);
    this.print();
    if (lateFailed > 0 || late.length === 0 || early) this.asExpected = false;
  }

  /** Asks when the order is not known: who may answer is, and who has to be among them. */
  async askOnly(
    client: string,
    vip: string,
    count: number,
    allowed: readonly string[],
    due: readonly string[] = [],
  ): Promise<void> {
    this.print(`${count} requests to http://${vip}/`);
    const answers = await this.request(client, `http://${vip}/`, count);
    this.checkDirector();
    for (const outcome of new Set(answers.map(({ page, error }) => page ?? error ?? "nothing"))) {
      const times = answers.filter(({ page, error }) => (page ?? error ?? "nothing") === outcome).length;
      this.print(`  ${times} x  ${outcome}`);
    }
    const good =
      answers.length === count &&
      answers.every(({ page }) => page !== undefined && allowed.includes(page.slice(5))) &&
      due.every((address) => answers.some(({ page }) => page === `I am ${address}`));
    this.print(good ? "  all answered" : "  NOT all answered");
    this.print();
    if (!good) this.asExpected = false;
  }

  /** Runs an ipvsadm command line and shows both. */
  async ipvsadm(line: string): Promise<void> {
    this.print(`$ ipvsadm ${line}`);
    const status = await runIpvsadm(line.split(" "), this.director, {
      stdin: async () => "",
      stdout: (text) => this.io.print(text),
      stderr: (text) => this.io.print(text),
    });
    if (status !== 0) this.asExpected = false;
    this.print();
  }

  /** Leaves everything up for whoever wants to look around. */
  async keep(client: string, vip: string): Promise<void> {
    this.print("The lab stays up until Ctrl-C. In another terminal:");
    if (isRootOfLab())
      this.print(`  nsenter --preserve-credentials -U -m -n -t ${process.pid}    # where the rest is typed`);
    this.print(`  ip netns exec ${client} curl http://${vip}/`);
    this.print(`  export WLVS_SOCKET=${this.socket}; wlvsadm -Ln; wlvs status`);
    for (const { machine, address } of this.servers) this.print(`  ip netns exec ${machine} bash      # ${address}`);
    this.print();
    this.isKept = true;
    await this.io.enough;
  }
}
