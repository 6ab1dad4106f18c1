/**
 * Everything that people and programs hand to the control side as text, nearly right: it is taken whole or refused whole,
 * with an error of its own kind that says where, and never takes long.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../host/config/document.js";
import { parseConfigFile } from "../../host/config/file.js";
import { createControlServer } from "../../host/control/server.js";
import { LvsError } from "../../host/errors.js";
import { importKeepalived } from "../../host/import/keepalived.js";
import { runIpvsadm } from "../../host/ipvs/command.js";
import type { Ipvs } from "../../host/ipvs/model.js";
import { FileNames } from "../../host/ipvs/names.js";
import { parseRules, RulesError } from "../../host/ipvs/restore.js";
import { formatRules } from "../../host/ipvs/save.js";
import { parseMarks } from "../../host/marks/parse.js";
import { emptyRuleset } from "../../host/marks/ruleset.js";
import { MarksError } from "../../host/marks/tokens.js";
import { pcapng, readCapture, vnetComment } from "../../host/port/pcap.js";
import { compileFilter, FilterError, parseFilter } from "../../host/trace/filter.js";
import { FakeInfo } from "../control/fake.js";
import { createDirector } from "../support/director.js";
import { mutate, shrink, vocabulary } from "./mutate.js";
import { Random } from "./random.js";

/** One kind of text. */
interface Target {
  readonly name: string;
  readonly seeds: readonly string[];
  /** Throws when the text was not handled as it has to be; resolves to whether it was taken. */
  take(text: string): Promise<boolean>;
  close?(): Promise<void>;
}

export interface TextReport {
  readonly seed: number;
  readonly inputs: number;
  /** Taken and refused, by kind. */
  readonly kinds: Readonly<Record<string, { taken: number; refused: number }>>;
  readonly failure?: string;
}

/** No text of 20 kB keeps anybody busy for so long, not even on a machine that does something else. */
const LONGEST_MS = 5000;

class Mishandled extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Mishandled";
  }
}

function must(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Mishandled(message());
}

/** An error that a person reads: lines without control characters, each of them there. */
function readable(message: string): void {
  must(message.trim() !== "", () => "an empty error");
  // "received undefined" is the schema's word for what is missing.
  const slip = /(?<!received )\bundefined\b|\[object /.test(message);
  must(!slip, () => `it says: ${message}`);
}

/** Fenced blocks of a language in the documents. */
function blocks(language: string): string[] {
  const found: string[] = [];
  const documents = [
    "README.md",
    ...readdirSync("docs")
      .filter((name) => name.endsWith(".md"))
      .map((name) => `docs/${name}`),
  ];
  for (const file of documents) {
    for (const [, text = ""] of readFileSync(file, "utf8").matchAll(
      new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, "gs"),
    ))
      found.push(text);
  }
  return found;
}

/** The command lines that recorded transcripts begin with. */
function recorded(): string[] {
  const folder = "test/unit/ipvsadm/transcripts";
  return readdirSync(folder)
    .flatMap((name) => readFileSync(join(folder, name), "utf8").split("\n"))
    .filter((line) => line.startsWith("$ ipvsadm "))
    .map((line) => line.slice("$ ipvsadm ".length));
}

/** Double-quoted strings of a test file that have something in them. */
function strings(file: string, having: string): string[] {
  return Array.from(readFileSync(file, "utf8").matchAll(/"((?:[^"\\\n]|\\.)*)"/g), ([, text = ""]) =>
    text.replaceAll("\\n", "\n").replaceAll('\\"', '"'),
  ).filter((text) => text.includes(having));
}

function rules(): Target {
  const lines = recorded().filter((line) => /^-[AEDaed] /.test(line));
  const whole = Array.from({ length: 20 }, (_, at) => lines.slice(at * 5, at * 5 + 5).join("\n"));
  return {
    name: "rules",
    seeds: [...lines, ...whole],
    take: async (text) => {
      try {
        parseRules(text, new FileNames());
        return true;
      } catch (error) {
        if (!(error instanceof RulesError)) throw error;
        readable(error.message);
        must(error.line >= 1 && error.line <= text.split("\n").length, () => `line ${error.line}`);
        return false;
      }
    },
  };
}

function marks(): Target {
  const table = (rule: string) =>
    `table inet t {\n  chain p {\n    type filter hook prerouting priority mangle; policy accept;\n    ${rule}\n  }\n}\n`;
  const single = strings("test/unit/marks/parse.test.ts", "meta mark set");
  return {
    name: "marks",
    seeds: single.map((rule) => (rule.includes("table") ? rule : table(rule))),
    take: async (text) => {
      try {
        parseMarks(text, emptyRuleset());
        return true;
      } catch (error) {
        if (!(error instanceof MarksError)) throw error;
        readable(error.message);
        must(error.line >= 1 && error.line <= text.split("\n").length, () => `line ${error.line}`);
        return false;
      }
    },
  };
}

function configuration(): Target {
  return {
    name: "configuration",
    seeds: blocks("yaml"),
    take: async (text) => {
      try {
        parseConfigFile("wlvs.yaml", text);
        return true;
      } catch (error) {
        if (!(error instanceof LvsError)) throw error;
        readable(error.message);
        if (error instanceof ConfigError) {
          const lines = text.split("\n").length;
          for (const { line } of error.mistakes)
            must(line >= 1 && line <= lines, () => `line ${line}: ${error.message}`);
        }
        return false;
      }
    },
  };
}

const KEEPALIVED = `! Configuration
global_defs { router_id LVS }
virtual_server_group web { 192.168.4.133 80
  192.168.4.134-140 80 }
virtual_server group web {
  delay_loop 6
  lb_algo wlc
  lb_kind NAT
  persistence_timeout 50
  protocol TCP
  quorum 2
  hysteresis 1
  quorum_up "/bin/true up"
  sorry_server 192.168.2.140 80
  real_server 192.168.2.128 80 {
    weight 1
    inhibit_on_failure
    HTTP_GET {
      url { path /
            status_code 200
            digest 640205b7b0fc66c1ea91c463fac6334d }
      connect_timeout 3
      retry 3
      delay_before_retry 3
    }
  }
  real_server 192.168.2.129 80 { weight 2
    TCP_CHECK { connect_port 8080 connect_timeout 1 } }
  real_server 192.168.2.130 80 { MISC_CHECK { misc_path "/usr/bin/check -a 1" misc_timeout 2 } }
}
`;

function keepalived(): Target {
  const samples = "/usr/share/doc/keepalived/samples";
  const seeds = [KEEPALIVED];
  if (existsSync(samples)) {
    for (const name of readdirSync(samples, { recursive: true, encoding: "utf8" })) {
      if (/keepalived\.conf/.test(name) && !name.endsWith(".gz")) seeds.push(readFileSync(join(samples, name), "utf8"));
    }
  }
  return {
    name: "keepalived.conf",
    seeds,
    // What has no place here is left out, and its line said; what is made of the rest is a configuration.
    take: async (text) => {
      const lines = text.split("\n").length;
      try {
        for (const { line, end = line, text: why } of importKeepalived(text).leftOut) {
          readable(why);
          must(line >= 1 && line <= end && end <= lines, () => `lines ${line} to ${end} of ${lines}: ${why}`);
        }
        return true;
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        readable(error.message);
        for (const { line } of error.mistakes) must(line >= 1 && line <= lines, () => `line ${line}: ${error.message}`);
        return false;
      }
    },
  };
}

const DEVICES = ["ext0", "int0"];

function filters(): Target {
  return {
    name: "filter",
    seeds: strings("test/trace/filter.test.ts", " ").filter((text) => !/[^ -~]/.test(text)),
    take: async (text) => {
      try {
        const program = compileFilter(parseFilter(text), DEVICES);
        must(program.length % 32 === 0, () => `a program of ${program.length} bytes`);
        return true;
      } catch (error) {
        if (!(error instanceof FilterError)) throw error;
        readable(error.message);
        must(error.at >= 0 && error.at <= text.length, () => `character ${error.at} of ${text.length}`);
        return false;
      }
    },
  };
}

/** Captures as text: a byte a character. */
function captures(): Target {
  const text = (...blocks: readonly Uint8Array[]) => Buffer.concat(blocks).toString("latin1");
  const frame = Uint8Array.from({ length: 61 }, (_, n) => n);
  const packet = (more: object) =>
    pcapng.packet({ interface: 0, time: 1_700_000_000_123_456_789n, frame, length: 61, comments: [], ...more });
  const section = pcapng.section("wlvs test", ["a comment", "wlvs seed=1 next-id=2 epoch=3"]);
  const ethernet = pcapng.interface({ name: "ext0", link: "ethernet", mac: "02:00:00:00:00:01", snap: 0 });
  const raw = pcapng.interface({ name: "lvs0", link: "raw", snap: 96 });
  const pcap = (little: boolean) => {
    const words = [0xa1b2c3d4, little ? 0x00040002 : 0x00020004, 0, 0, 65535, 1, 1700000000, 5, 61, 61];
    const bytes = Buffer.alloc(words.length * 4);
    for (const [at, word] of words.entries()) {
      if (little) bytes.writeUInt32LE(word, at * 4);
      else bytes.writeUInt32BE(word, at * 4);
    }
    return text(bytes, frame);
  };
  return {
    name: "capture",
    seeds: [
      text(section, ethernet, raw, packet({ direction: "in" }), packet({ interface: 1, direction: "out" })),
      text(section, ethernet, packet({ comments: ["x", vnetComment(new Uint8Array(12).fill(1))] }), section, raw),
      text(section, ethernet, pcapng.statistics(0, 1_700_000_000_123_456_789n, 7), packet({ length: 1500 })),
      pcap(true),
      pcap(false),
    ],
    take: async (given) => {
      const bytes = Buffer.from(given, "latin1");
      try {
        const { frames, interfaces } = readCapture(bytes, "x.pcapng");
        for (const one of frames) {
          must(one.interface >= 0 && one.interface < interfaces.length, () => `interface ${one.interface}`);
          must(one.frame.length <= bytes.length, () => `a frame of ${one.frame.length} bytes`);
        }
        return true;
      } catch (error) {
        if (!(error instanceof LvsError)) throw error;
        readable(error.message);
        const at = Number(/^x\.pcapng, byte (\d+): /.exec(error.message)?.[1]);
        must(at >= 0 && at <= bytes.length, () => `it says: ${error.message}`);
        return false;
      }
    },
  };
}

/** The tables as text: what must be the same before and after a refusal. */
async function dump(ipvs: Ipvs): Promise<string> {
  return (
    [...formatRules(await ipvs.services(), undefined, { complete: true })].join("") +
    JSON.stringify(await ipvs.timeouts())
  );
}

function commands(): Target {
  const director = createDirector();
  const { ipvs } = director;
  const names = new FileNames();
  return {
    name: "wlvsadm",
    seeds: recorded().filter((line) => !/--(start|stop)-daemon|-R\b|--restore/.test(line)),
    take: async (text) => {
      const argv = text.split(/\s+/).filter((word) => word !== "");
      if ((await ipvs.services()).length > 64) await ipvs.flush();
      const before = await dump(ipvs);
      let said = "";
      const status = await runIpvsadm(argv, ipvs, {
        stdin: async () => "",
        stdout: () => {},
        stderr: (more) => {
          said += more;
        },
        program: "wlvsadm",
        names,
      });
      must(Number.isInteger(status) && status >= 0 && status < 256, () => `status ${status}`);
      if (status === 0) return true;
      must(said.trim() !== "", () => `status ${status}, and nothing said`);
      must((await dump(ipvs)) === before, () => `status ${status}, and the tables changed`);
      return false;
    },
  };
}

const SERVICE = {
  id: { family: 4, protocol: "tcp", address: "192.168.4.100", port: 80 },
  scheduler: "wrr",
  persistencePrefix: 32,
  onePacket: false,
  schedulerFlags: 0,
};
const SERVER = {
  id: { family: 4, address: "192.168.2.11", port: 80 },
  forwarding: "nat",
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
};
/** METHOD PATH, and a body in the next line. */
const REQUESTS = [
  `POST /v1/services\n${JSON.stringify(SERVICE)}`,
  `PUT /v1/services/tcp:192.168.4.100:80\n${JSON.stringify({ ...SERVICE, scheduler: "sh", schedulerFlags: 2 })}`,
  `POST /v1/services/tcp:192.168.4.100:80/servers\n${JSON.stringify(SERVER)}`,
  `PUT /v1/services/tcp:192.168.4.100:80/servers/192.168.2.11:80\n${JSON.stringify({ ...SERVER, weight: 5 })}`,
  "DELETE /v1/services/tcp:192.168.4.100:80/servers/192.168.2.11:80",
  "DELETE /v1/services/tcp:192.168.4.100:80",
  "GET /v1/services/udp:[2001:db8::1]:53",
  "GET /v1/services/mark:7:ipv4",
  "GET /v1/connections",
  "GET /v1/openapi.json",
  `PUT /v1/timeouts\n{"tcp":900,"tcpFin":120,"udp":300}`,
  `PATCH /v1/settings\n{"expire_quiescent_template":1}`,
  `POST /v1/transaction\n${JSON.stringify({
    steps: [
      { do: "addService", service: SERVICE },
      { do: "addServer", service: SERVICE.id, server: SERVER },
      { do: "editServer", service: SERVICE.id, server: { ...SERVER, weight: 0 } },
      { do: "removeServer", service: SERVICE.id, server: SERVER.id },
      { do: "removeService", id: SERVICE.id },
    ],
  })}`,
];

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** As a client can send it: half a surrogate pair cannot be encoded. */
function pathOf(text: string): string {
  return encodeURI(text.replaceAll(/[\ud800-\udfff]/g, "?")) || "/";
}

/** A server over a real core, on a socket of its own. */
async function api(): Promise<Target> {
  const { ipvs } = createDirector();
  const folder = mkdtempSync(join(tmpdir(), "wlvs-fuzz-"));
  const socketPath = join(folder, "s");
  const server = await createControlServer({ ipvs, info: new FakeInfo(), socketPath });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (method: string, path: string, body: string | undefined) =>
    new Promise<Answer | undefined>((resolve, reject) => {
      const headers = body === undefined ? {} : { "content-type": "application/json" };
      let call: ReturnType<typeof request>;
      try {
        call = request({ socketPath, agent, method, path, headers, timeout: LONGEST_MS }, (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (more) => (text += more));
          response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
          response.on("error", reject);
        });
      } catch {
        // What this client does not send.
        resolve(undefined);
        return;
      }
      call.on("timeout", () => call.destroy(new Mishandled("no answer")));
      call.on("error", reject);
      call.end(body);
    });
  return {
    name: "API",
    seeds: REQUESTS,
    take: async (text) => {
      const end = text.indexOf("\n");
      const head = end < 0 ? text : text.slice(0, end);
      const body = end < 0 ? undefined : text.slice(end + 1);
      const [method = "GET", ...rest] = head.split(" ");
      if (!/^[A-Z]{3,7}$/.test(method) || method === "CONNECT" || method === "HEAD") return false;
      if ((await ipvs.services()).length > 64) await ipvs.flush();
      const before = await dump(ipvs);
      const answer = await ask(method, pathOf(rest.join(" ")), body);
      if (answer === undefined) return false;
      must(
        answer.status < 500 || answer.status === 501 || answer.status === 507,
        () => `${answer.status} ${answer.text}`,
      );
      if (answer.status < 300) return true;
      const said = JSON.parse(answer.text) as { error?: { code?: string; message?: string } };
      must(said.error?.code !== undefined, () => `${answer.status} without a code: ${answer.text}`);
      readable(said.error.message ?? "");
      must((await dump(ipvs)) === before, () => `${answer.status}, and the tables changed`);
      return false;
    },
    close: async () => {
      agent.destroy();
      await server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A failure's kind: what a shorter text must fail with, too. */
function kindOf(error: unknown): string {
  if (error instanceof Mishandled) return error.message.replaceAll(/\d+/g, "N").slice(0, 40);
  return error instanceof Error ? `${error.name} ${error.stack?.split("\n")[1] ?? ""}` : String(error);
}

async function attempt(target: Target, text: string): Promise<boolean> {
  const began = performance.now();
  const taken = await target.take(text);
  const took = performance.now() - began;
  must(took < LONGEST_MS, () => `it took ${Math.round(took)} ms`);
  return taken;
}

/** Until the time is over and `least` inputs were tried, or `inputs` of them. */
export async function fuzzTexts(options: {
  readonly seed: number;
  readonly seconds: number;
  readonly inputs?: number;
  readonly least?: number;
  readonly progress?: (text: string) => void;
}): Promise<TextReport> {
  const { seed, seconds, inputs = Number.POSITIVE_INFINITY, least = 0, progress } = options;
  const targets = [rules(), marks(), configuration(), keepalived(), filters(), captures(), commands(), await api()];
  const words = targets.map(({ seeds }) => vocabulary(seeds));
  const kinds: Record<string, { taken: number; refused: number }> = {};
  for (const { name } of targets) kinds[name] = { taken: 0, refused: 0 };
  const end = performance.now() + seconds * 1000;
  let done = 0;
  try {
    for (; done < inputs && (performance.now() < end || done < Math.max(least, targets.length)); done++) {
      const at = done % targets.length;
      const target = targets[at]!;
      const text = mutate(new Random((seed + done) >>> 0), target.seeds, words[at]!);
      try {
        kinds[target.name]![(await attempt(target, text)) ? "taken" : "refused"]++;
      } catch (error) {
        const kind = kindOf(error);
        const short = await shrink(text, (shorter) =>
          attempt(target, shorter).then(
            () => false,
            (other) => kindOf(other) === kind,
          ),
        );
        const what = error instanceof Mishandled ? error.message : error instanceof Error ? error.stack : String(error);
        return {
          seed,
          inputs: done,
          kinds,
          failure: `${target.name} ${JSON.stringify(short)}: ${what}`,
        };
      }
      if (done % 5000 === 4999) progress?.(`${done + 1} texts`);
    }
  } finally {
    for (const target of targets) await target.close?.();
  }
  return { seed, inputs: done, kinds };
}
