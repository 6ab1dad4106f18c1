/** Who is measured: each one stands between the clients and the servers on links of its own. */
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LvsError } from "../errors.js";
import { compileC } from "./compile.js";
import { has, type Running, type Stage } from "./stage.js";

export const PORT = 5201;

export type TestName = "bulk" | "bulk8" | "udp" | "rr" | "connections";

export interface Contender {
  readonly id: string;
  readonly name: string;
  /** Forwards nothing: what client and server do at most, and no contender. */
  readonly isCeiling?: boolean;
  /** Those it takes part in, when not in all. */
  readonly tests?: readonly TestName[];
  /** Why it cannot take part on this machine. */
  missing?(): string | undefined;
  /** What it says its version is. */
  version?(): string | undefined;
  start(lane: Lane): Promise<void>;
}

/** A contender's place: its addresses and devices. */
export class Lane {
  readonly contender: Contender;
  readonly stage: Stage;
  readonly vip: string;
  readonly inner: string;
  readonly client: string;
  readonly server: string;
  /** The devices in the clients' and the servers' namespaces. */
  readonly devices: readonly [string, string];
  readonly macs: readonly string[];
  /** How often all that is measured is measured. */
  readonly rounds: number;
  private readonly number: number;
  process: Running | undefined;
  /** From starts of its process until frames flow, in milliseconds. */
  readonly ready: number[] = [];

  constructor(stage: Stage, contender: Contender, number: number, rounds: number) {
    this.rounds = rounds;
    this.stage = stage;
    this.contender = contender;
    this.number = number;
    [this.vip, this.client] = [`10.71.${number}.1`, `10.71.${number}.2`];
    [this.inner, this.server] = [`10.72.${number}.1`, `10.72.${number}.2`];
    this.devices = [`wp${process.pid}c${number}`, `wp${process.pid}s${number}`];
    const hex = number.toString(16).padStart(2, "0");
    // Outer, inner, client, server: only the bare forwarders need to be told.
    this.macs = [1, 2, 3, 4].map((at) => `02:00:00:00:${hex}:0${at}`);
  }

  file(name: string, text: string): string {
    const path = join(this.stage.folder, `${this.contender.id}-${name}`);
    writeFileSync(path, text);
    return path;
  }

  /** The forwarder's own namespace between two cables, for those that use the kernel's own stack. */
  async middle(): Promise<string> {
    const { stage, devices } = this;
    const netns = await stage.makeNamespace(this.contender.id);
    const ends = [
      [stage.client, devices[0], "outer", this.vip],
      [stage.server, devices[1], "inner", this.inner],
    ] as const;
    for (const [far, device, near, address] of ends) {
      const peer = ["type", "veth", "peer", "name", near, "netns", netns];
      await stage.run("ip", ["-n", far, "link", "add", device, ...peer]);
      await stage.run("ip", ["-n", netns, "addr", "add", `${address}/24`, "dev", near]);
      await stage.run("ip", ["-n", netns, "link", "set", near, "up"]);
      await stage.steer(netns, near, "forwarder");
    }
    await this.configure();
    return netns;
  }

  /** A cable from the clients to the servers. */
  async cable(): Promise<void> {
    const { stage, devices, vip, client } = this;
    const peer = ["type", "veth", "peer", "name", devices[1], "netns", stage.server];
    await stage.run("ip", ["-n", stage.client, "link", "add", devices[0], ...peer]);
    const ends = [
      [stage.client, devices[0], client],
      [stage.server, devices[1], vip],
    ] as const;
    for (const [netns, device, address] of ends) {
      await stage.run("ip", ["-n", netns, "addr", "add", `${address}/24`, "dev", device]);
      await stage.run("ip", ["-n", netns, "link", "set", device, "up"]);
      await stage.steer(netns, device, "load");
    }
  }

  /** Moves TAPs that lie in this namespace to where they belong. */
  async move(): Promise<void> {
    const { stage, devices, macs } = this;
    for (const [at, netns] of [stage.client, stage.server].entries()) {
      await stage.run("ip", ["link", "set", devices[at]!, "address", macs[at + 2]!]);
      await stage.run("ip", ["link", "set", devices[at]!, "netns", netns]);
    }
    await this.configure();
    const peers = [
      [stage.client, this.vip, macs[0], devices[0]],
      [stage.server, this.inner, macs[1], devices[1]],
    ] as const;
    for (const [netns, address, mac, device] of peers) {
      await stage.run("ip", ["-n", netns, "neigh", "replace", address, "lladdr", mac!, "dev", device]);
    }
  }

  /** Addresses of the clients' and the servers' ends. */
  async configure(): Promise<void> {
    const { stage, devices } = this;
    const ends = [
      [stage.client, devices[0], this.client],
      [stage.server, devices[1], this.server],
    ] as const;
    for (const [netns, device, address] of ends) {
      await stage.run("ip", ["-n", netns, "addr", "add", `${address}/24`, "dev", device]);
      await stage.run("ip", ["-n", netns, "link", "set", device, "up"]);
      await stage.steer(netns, device, "load");
    }
    const net = `10.71.${this.number}.0/24`;
    await stage.run("ip", ["-n", stage.server, "route", "add", net, "via", this.inner, "dev", devices[1]]);
  }

  /** Frames that have come to the server. */
  async arrived(): Promise<number> {
    const text = await this.stage.run("ip", ["-n", this.stage.server, "-s", "-j", "link", "show", this.devices[1]]);
    const [link] = JSON.parse(text) as [{ stats64: { rx: { packets: number } } }];
    return link.stats64.rx.packets;
  }
}

function wlvs(io: "uring" | "rw", { starts, spin = 50, ...more }: WlvsOptions = {}): Contender {
  const id = spin === 0 ? `wlvs-${io}-0` : `wlvs-${io}`;
  return {
    id,
    name: `wlvs, ${io}${spin === 0 ? ", --spin 0" : ""}`,
    async start(lane) {
      const { stage, vip, inner, server, devices } = lane;
      const main = fileURLToPath(new URL("../cli/main.js", import.meta.url));
      const rip = ["--mode", "nat", "--rip", `${server}:${PORT}`];
      const argv = [
        ...[main, "run", "--io", io, "--spin", `${spin}`],
        ...["--tap", `${devices[0]},ip=${vip}/24,netns=${stage.client}`],
        ...["--tap", `${devices[1]},ip=${inner}/24,netns=${stage.server}`],
        ...["--vip", `${vip}:${PORT}`, ...rip, "--vip", `${vip}:${PORT}/udp`, ...rip],
        ...["--socket", join(stage.folder, `${id}.sock`), "--log-level", "warn"],
      ];
      // It starts as it does everywhere, on all cores. Only what it does then is for one alone.
      for (let left = starts ?? lane.rounds; left > 0; left--) {
        const from = performance.now();
        const running = await stage.start(process.execPath, argv, { on: "all", line: "forwarding" });
        lane.ready.push(performance.now() - from);
        lane.process = running;
        // What it loads behind its first frames must not slow the next one down.
        await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
        if (left > 1) await stage.stop(running);
      }
      await stage.confine(lane.process!, "forwarder");
      await lane.configure();
    },
    ...more,
  };
}

/** Long enough for a director to have loaded all that it is made of. */
const SETTLE_MS = 600;

interface WlvsOptions extends Partial<Contender> {
  /** How often its start is measured: once a round otherwise. */
  readonly starts?: number;
  /** Microseconds. */
  readonly spin?: number;
}

/** Nobody between client and server: what the load can do at all. */
const CEILING: Contender = {
  id: "none",
  name: "no forwarder (the load's ceiling)",
  isCeiling: true,
  start: (lane) => lane.cable(),
};

function bare(
  id: string,
  name: string,
  program: "forward-rw" | "forward-uring",
  more: Partial<Contender> = {},
): Contender {
  return {
    id,
    name,
    async start(lane) {
      const compiled = compileC(program);
      if ("missing" in compiled) throw new LvsError("ERR_LVS_DIRECTOR", compiled.missing);
      const nat = ["--nat", `${lane.vip}:${PORT},${lane.server}:${PORT}`, "--mac", lane.macs.join(",")];
      const spin = id.endsWith("spin") ? ["--spin", "50"] : [];
      lane.process = await lane.stage.start(compiled.path, [...lane.devices, ...nat, ...spin], {
        on: "forwarder",
        line: "forwarding",
      });
      await lane.move();
    },
    ...more,
  };
}

const KERNEL: Contender = {
  id: "kernel",
  name: "kernel's NAT (nftables)",
  missing: () => (has("nft") ? undefined : "nft is not installed"),
  version: () => firstLine("nft", ["--version"]),
  async start(lane) {
    const { stage, vip, server } = lane;
    stage.widenConntrack();
    const netns = await lane.middle();
    await stage.run("sysctl", ["-qw", "net.ipv4.ip_forward=1"], { netns });
    const to = `dnat to ${server}:${PORT}`;
    const rules = `table ip bench {
      chain in {
        type nat hook prerouting priority dstnat;
        ip daddr ${vip} tcp dport ${PORT} ${to}
        ip daddr ${vip} udp dport ${PORT} ${to}
      }
    }`;
    await stage.run("nft", ["-f", "-"], { netns, input: rules });
  },
};

const HAPROXY: Contender = {
  id: "haproxy",
  name: "HAProxy, mode tcp",
  tests: ["bulk", "bulk8", "rr", "connections"],
  missing: () => (has("haproxy") ? undefined : "haproxy is not installed"),
  version: () => firstLine("haproxy", ["-v"]),
  async start(lane) {
    const netns = await lane.middle();
    const file = lane.file(
      "conf",
      `global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen bench
  bind ${lane.vip}:${PORT}
  server one ${lane.server}:${PORT}
`,
    );
    lane.process = await lane.stage.start("haproxy", ["-db", "-f", file], { netns, on: "forwarder" });
  },
};

const NGINX: Contender = {
  id: "nginx",
  name: "nginx, stream",
  missing: () => {
    if (!has("nginx")) return "nginx is not installed";
    const how = streamModule();
    return how === undefined ? "nginx's stream module is not installed" : undefined;
  },
  version: () => firstLine("nginx", ["-v"]),
  async start(lane) {
    const netns = await lane.middle();
    const file = lane.file(
      "conf",
      `${streamModule() ?? ""}
daemon off;
user root;
pid ${join(lane.stage.folder, "nginx-stream.pid")};
error_log stderr crit;
worker_processes 1;
events { worker_connections 8000; }
stream {
  server { listen ${lane.vip}:${PORT} backlog=4096; proxy_pass ${lane.server}:${PORT}; }
  server { listen ${lane.vip}:${PORT} udp; proxy_pass ${lane.server}:${PORT}; proxy_timeout 10s; }
}
`,
    );
    lane.process = await lane.stage.start("nginx", ["-c", file, "-e", "stderr"], { netns, on: "forwarder" });
  },
};

/** What a configuration has to begin with for `stream` to be known, or undefined. */
function streamModule(): string | undefined {
  const text = spawnSync("nginx", ["-V"], { encoding: "utf8" }).stderr ?? "";
  if (/--with-stream(\s|$)/.test(text)) return "";
  const folder = /--modules-path=(\S+)/.exec(text)?.[1] ?? "/usr/lib/nginx/modules";
  const path = join(folder, "ngx_stream_module.so");
  return existsSync(path) ? `load_module ${path};` : undefined;
}

function firstLine(command: string, argv: readonly string[]): string | undefined {
  const { stdout, stderr } = spawnSync(command, argv, { encoding: "utf8" });
  return `${stdout}${stderr}`.split("\n")[0]?.trim();
}

export const CONTENDERS: readonly Contender[] = [
  wlvs("uring"),
  wlvs("rw"),
  // What it costs without the time that it polls in vain.
  wlvs("uring", { starts: 1, spin: 0, tests: ["rr", "connections"] }),
  bare("c-uring", "C, io_uring", "forward-uring"),
  bare("c-rw", "C, read/write", "forward-rw"),
  bare("c-rw-spin", "C, read/write, spinning", "forward-rw", { tests: ["rr"] }),
  KERNEL,
  HAPROXY,
  NGINX,
  CEILING,
];
