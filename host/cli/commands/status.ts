/** `wlvs status`: the running director on one screen. */
import type { Command } from "commander";
import type {
  ConfigurationInfo,
  CounterInfo,
  DirectorStatus,
  PortInfo,
  ServerHealth,
} from "../../control/director-info.js";
import { endpoint, serverKey, serviceKey } from "../../control/keys.js";
import type { ServiceInfo } from "../../ipvs/model.js";
import type { CliContext } from "../context.js";
import { bytes, count, counted, duration, table } from "../format.js";
import { examples } from "../help.js";

type Status = DirectorStatus & { ports: PortInfo[]; services: ServiceInfo[] };

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("status")
    .summary("show the running director")
    .description(
      "Shows the running director: its configuration, its ports, its services with their health, how frames ended.",
    )
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .option("--json", "as JSON")
    .action(async (options: { socket?: string; json?: boolean }) => {
      const director = await context.director(options.socket);
      const [status, counters, health, configuration] = await Promise.all([
        director.status(),
        director.counters(),
        director.health(),
        director.configuration(),
      ]);
      context.stdout.write(
        options.json
          ? `${JSON.stringify({ ...status, counters, health, configuration }, null, 2)}\n`
          : formatStatus(status, counters, director.path, health, configuration),
      );
    });
  examples(command, "wlvs status\nwlvs status --json | jq .ports\nwlvs status --socket /run/other.sock");
}

export function formatStatus(
  status: Status,
  counters: CounterInfo,
  socket: string,
  health: readonly ServerHealth[] = [],
  configuration?: ConfigurationInfo,
): string {
  const { connections, workers } = status;
  const sections = [
    `wlvs ${status.version}, pid ${status.pid}, up ${duration(status.uptime)}, control ${socket}\n` +
      `profile ${status.profile}, ${counted(workers, "worker")}, io ${status.io}, ` +
      `${connections.used} of ${connections.capacity} connections\n` +
      configurationLines(configuration),
    portTable(status.ports) + problemLines(status.ports),
    status.services.length === 0 ? "no virtual services\n" : serviceTable(status.services, health),
    counterLines(counters) + defenceLines(status.services, counters) + lostLines(status.ports),
  ];
  return sections.filter((section) => section !== "").join("\n");
}

function configurationLines(configuration: ConfigurationInfo | undefined): string {
  const { file, read, drift, refused } = configuration ?? {};
  if (file === undefined || read === undefined) return "";
  const age = (at: string) => `${duration(Math.max(0, Math.round((Date.now() - Date.parse(at)) / 1000)))} ago`;
  const lines = [`configuration ${file}, read ${age(read)}`];
  if (drift !== undefined && drift.length > 0) {
    const [places, them] = drift.length === 1 ? ["1 place", "it"] : [`${drift.length} places`, "them"];
    lines.push(
      `what runs differs from it in ${places}: 'wlvs check ${file}' shows ${them}, 'wlvs save ${file}' keeps ${them}`,
    );
  }
  if (refused !== undefined) {
    lines.push(`refused ${age(refused.at)}, nothing of it is applied:`);
    lines.push(...refused.message.split("\n").map((line) => `  ${line}`));
  }
  return `${lines.join("\n")}\n`;
}

function portTable(ports: readonly PortInfo[]): string {
  if (ports.length === 0) return "no ports\n";
  const rows = ports.map((port) => [
    port.name,
    port.kind,
    port.up ? (port.device?.carrier === false ? "no carrier" : "up") : "down",
    port.addresses.join(",") || "-",
    port.mac ?? "-",
    `${port.mtu}`,
    port.offloads.join(",") || "-",
    count(port.framesIn),
    bytes(port.bytesIn),
    count(port.framesOut),
    bytes(port.bytesOut),
    count(port.dropsOut),
    port.netns ?? (port.bridge === undefined ? "-" : `bridge ${port.bridge}`),
  ]);
  const header = ["PORT", "KIND", "STATE", "ADDRESSES", "MAC", "MTU", "OFFLOADS", "IN", "", "OUT", "", "DROPS", "PEER"];
  const right = "right" as const;
  const left = "left" as const;
  return table([header, ...rows], [left, left, left, left, left, right, left, right, right, right, right, right, left]);
}

function problemLines(ports: readonly PortInfo[]): string {
  return ports.map(({ name, problem }) => (problem === undefined ? "" : `port ${name}: ${problem}\n`)).join("");
}

/** What the core never saw, or sent in vain. */
function lostLines(ports: readonly PortInfo[]): string {
  return ports
    .flatMap(({ name, device }) => [
      device !== undefined && device.lostIn > 0
        ? `lost before the core on ${name} ${count(device.lostIn)}: its queue holds ${device.queueLength}\n`
        : "",
      device !== undefined && device.lostOut > 0 ? `not taken by the kernel on ${name} ${count(device.lostOut)}\n` : "",
    ])
    .join("");
}

function serviceName(service: ServiceInfo): string {
  const { id } = service;
  if ("mark" in id) return `FWM ${id.mark}${id.family === 6 ? " IPv6" : ""}`;
  return `${id.protocol.toUpperCase()} ${endpoint(id.family, id.address, id.port)}`;
}

function healthText({ state, problem }: ServerHealth): string {
  return state === "down" ? `down: ${problem}` : state;
}

function serviceTable(services: readonly ServiceInfo[], health: readonly ServerHealth[]): string {
  const rows = [["SERVICE", "HOW", "WEIGHT", "ACTIVE", "INACTIVE", "CONNS", "IN", "OUT", "CONN/S"]];
  if (health.length > 0) rows[0]!.push("HEALTH");
  for (const service of services) {
    const checked = new Map(
      health.filter((one) => one.service === serviceKey(service.id)).map((one) => [one.server, one]),
    );
    const persistent = service.persistence === undefined ? "" : `, persistent ${service.persistence}s`;
    const proxied = service.defence?.synProxy ? ", syn-proxy" : "";
    const limited = service.limits === undefined ? "" : ", limited";
    rows.push([
      serviceName(service),
      `${service.scheduler}${persistent}${proxied}${limited}`,
      "",
      "",
      "",
      count(service.stats.connections),
      bytes(service.stats.inBytes),
      bytes(service.stats.outBytes),
      `${service.rates.cps}`,
    ]);
    for (const { id, forwarding, weight, active, inactive, stats, rates } of service.servers) {
      rows.push([
        `  -> ${endpoint(id.family, id.address, id.port)}`,
        forwarding,
        `${weight}`,
        `${active}`,
        `${inactive}`,
        count(stats.connections),
        bytes(stats.inBytes),
        bytes(stats.outBytes),
        `${rates.cps}`,
      ]);
      const its = checked.get(serverKey(id));
      checked.delete(serverKey(id));
      if (its !== undefined) rows.at(-1)!.push(healthText(its));
    }
    // Those that are down may be out of the table.
    for (const [server, its] of checked) {
      if (its.state === "down") rows.push([`  -> ${server}`, "out", "", "", "", "", "", "", "", healthText(its)]);
    }
  }
  const right = "right" as const;
  return table(rows, ["left", "left", right, right, right, right, right, right, right, "left"]);
}

/** Those above 0, the largest first. */
function listed(record: Readonly<Record<string, number>>): string {
  return Object.entries(record)
    .filter(([, value]) => value > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, value]) => `${name} ${count(value)}`)
    .join(", ");
}

/** What the SYN proxy and limits did, where they did something. */
function defenceLines(services: readonly ServiceInfo[], { synProxy, evictions }: CounterInfo): string {
  const { answered, accepted, invalid, spliced, refused, silent } = synProxy;
  const lines: string[] = [];
  if (answered + accepted + invalid > 0) {
    const cookies = `cookies sent ${count(answered)}, valid ${count(accepted)}, invalid ${count(invalid)}`;
    const servers = `servers answered ${count(spliced)}, refused ${count(refused)}, silent ${count(silent)}`;
    lines.push(`SYN proxy ${cookies}; ${servers}`);
  }
  for (const service of services) {
    const over = listed(service.defence?.refused ?? {});
    if (over !== "") lines.push(`limits of ${serviceName(service)} refused for ${over}`);
  }
  if (evictions > 0) lines.push(`table full, made room ${count(evictions)} times`);
  return lines.map((line) => `${line}\n`).join("");
}

function counterLines(counters: CounterInfo): string {
  const verdicts = listed(counters.verdicts);
  const reasons = listed(counters.reasons);
  return (
    `frames in ${count(counters.framesIn)}, out ${count(counters.framesOut)}, made here ${count(counters.generated)}\n` +
    (verdicts === "" ? "" : `ended as ${verdicts}\n`) +
    (reasons === "" ? "" : `dropped for ${reasons}\n`)
  );
}
