/** `wlvs run`: a director on TAP and TUN devices. */
import type { Command } from "commander";
import type { Token } from "../../config/options.js";
import { readMarks, readRules } from "../../config/rules.js";
import { LvsError } from "../../errors.js";
import { StopSignal } from "../../keeper/signals.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";

const EXAMPLES = `
wlvs run --tap ext0,ip=192.168.4.133/24,bridge=br-ext --tap int0,ip=192.168.2.130/24,bridge=br-int \\
         --vip 192.168.4.133:80 --scheduler wrr --rip 192.168.2.128,weight=1 --rip 192.168.2.129,weight=2
wlvs run --tap lan0,ip=10.0.0.2/24,gw=10.0.0.1,bridge=br0 --rules /etc/ipvsadm.rules
wlvs run --tun lvs0,ip=10.0.0.3/32,routes=auto --vip 10.0.0.100:80 --mode fullnat --rip 10.0.1.11 --rip 10.0.1.12
ipvsadm-save -n | wlvs run --tap lan0,ip=10.0.0.2/24 --rules - --profile kernel`;

/** Flag, description. The order of the command line counts, so commander's own values are not used. */
const OPTIONS: ReadonlyArray<readonly [string, string]> = [
  [
    "--tap <spec>",
    "a TAP port (fullnat takes its clients' places from all ip=): NAME[,ip=CIDR]...[,mac=MAC][,gw=IP][,mtu=N][,bridge=BR][,netns=NS][,persist=on]",
  ],
  ["--tun <spec>", "a TUN port: NAME[,ip=CIDR]...[,mtu=N][,netns=NS][,routes=auto]"],
  ["--vip <service>", "a service, ADDR:PORT[/tcp|/udp|/sctp]; the next five belong to it"],
  ["--scheduler <name>", "how it picks a real server (wlc)"],
  ["--mode <mode>", "how it forwards: nat, dr, tun, fullnat (nat)"],
  ["--persistent [seconds]", "a client stays with its real server (360)"],
  ["--rip <server>", "a real server, ADDR[:PORT][,weight=N][,mode=MODE]"],
  [
    "--limit <limits>",
    "what it takes at most, and of one client: connections=N,rate=N/s,source-connections=N,source-rate=N/s",
  ],
  ["--rules <file>", "services as ipvsadm-save -n wrote them; - reads standard input"],
  ["--marks <file>", "firewall marks: nftables rules that end in 'meta mark set N'"],
  ["--set <name=value>", "a net.ipv4.vs.* setting"],
  ["--route <route>", "CIDR,via=IP; CIDR,local[,mark=N]: a network that mark services take whole"],
  ["--neigh <neighbour>", "a permanent neighbour, IP,MAC,dev=NAME"],
  ["--no-forward", "drop what belongs to no service instead of routing it"],
  ["--profile <name>", "kernel: exactly as Linux; wlvs: see docs/ipvs-parity.md (wlvs)"],
  ["--config <file>", "settings as YAML"],
  ["--socket <path>", "control socket ($WLVS_SOCKET, or /run/wlvs.sock)"],
  ["--socket-group <group>", "a group that may use the control socket"],
  ["--listen <addr:port>", "the API and /metrics on TCP too, read-only"],
  ["--listen-admin", "changes on TCP too"],
  ["--workers <n>", "threads that move frames (1)"],
  ["--max-connections <n>", "size of the connection table (1000000)"],
  ["--io <how>", "how frames move: auto, uring, rw (auto)"],
  ["--spin <microseconds>", "how long a worker polls before it sleeps, at most (50)"],
  ["--log-level <level>", "trace, debug, info, warn, error, fatal, silent (info)"],
  ["--user <name>", "who the director runs as when root starts it (nobody)"],
  ["--procfs <dir>", "keep DIR/net/ip_vs and ip_vs_stats as the kernel writes them, for node_exporter --path.procfs"],
  ["--state <file>", "keep services and connections in a file, over a crash or a restart"],
  ["--syn-proxy <when>", "answer SYNs for the real servers: auto, on, off"],
];

export function register(program: Command, context: CliContext): void {
  const tokens: Token[] = [];
  const command = program
    .command("run")
    .summary("run a director")
    .description("Runs a director until SIGTERM or SIGINT. It owns the far end of every device that it names.")
    .allowExcessArguments(false);
  for (const [flags, description] of OPTIONS) {
    const name = /^--([a-z-]+)/.exec(flags)![1]!;
    command.option(flags, description);
    command.on(`option:${name}`, (value: string | null | undefined) => tokens.push([name, value ?? null]));
  }
  examples(command, EXAMPLES.trim());
  command.action(async () => {
    // Before anything else: a signal in the middle of the start must leave nothing behind either.
    const stop = new StopSignal();
    const { loadRunConfig } = await import("../../config/load.js");
    const load = () =>
      loadRunConfig(tokens, {
        env: context.env,
        rules: (file) => readRules(file, context.stdin),
        marks: (file) => readMarks(file, context.stdin),
      });
    const config = load();
    const parsed = await Promise.race([config, stop.requested]);
    if (parsed === undefined) return;
    const { runKeeper } = await import("../../keeper/keeper.js");
    await runKeeper({
      config: parsed,
      version: context.version,
      stop,
      ahead: context.ahead,
      environment: context.env,
      load: tokens.some(([name]) => name === "config") ? load : undefined,
      ready: (line) => void context.stdout.write(line),
    }).catch((error) => told(error, parsed.socket, context));
  });
}

/** A device that is in use is most often that of a director that runs already. */
async function told(error: unknown, socket: string, context: CliContext): Promise<never> {
  const { DeviceInUse } = await import("../../port/device.js");
  if (!(error instanceof DeviceInUse)) throw error;
  const { pid } = await (await context.director(socket)).status().catch(() => ({ pid: undefined }));
  if (pid === undefined) throw error;
  throw new LvsError(
    "ERR_LVS_PORT_OPEN",
    `${error.device} is in use, and a director already answers on ${socket} (pid ${pid}): end it, or give --socket PATH and other devices`,
    error,
  );
}
