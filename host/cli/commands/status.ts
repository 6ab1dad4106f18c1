/** `wlvs status`: the running director on one screen. */
import type { Command } from "commander";
import type { CounterInfo, DirectorStatus, PortInfo } from "../../control/director-info.js";
import { endpoint } from "../../control/keys.js";
import type { ServiceInfo } from "../../ipvs/model.js";
import type { CliContext } from "../context.js";
import { bytes, count, duration, table } from "../format.js";
import { examples } from "../help.js";

type Status = DirectorStatus & { ports: PortInfo[]; services: ServiceInfo[] };

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("status")
    .summary("show the running director")
    .description("Shows the running director: its ports, its services, how frames ended.")
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .option("--json", "as JSON")
    .action(async (options: { socket?: string; json?: boolean }) => {
      const director = await context.director(options.socket);
      const [status, counters] = await Promise.all([director.status(), director.counters()]);
      context.stdout.write(
        options.json
          ? `${JSON.stringify({ ...status, counters }, null, 2)}\n`
          : formatStatus(status, counters, director.path),
      );
    });
  examples(command, "wlvs status\nwlvs status --json | jq .ports\nwlvs status --socket /run/other.sock");
}

export function formatStatus(status: Status, counters: CounterInfo, socket: string): string {
  const { connections, workers } = status;
  const sections = [
    `wlvs ${status.version}, pid ${status.pid}, up ${duration(status.uptime)}, control ${socket}\n` +
      `profile ${status.profile}, ${workers} ${workers === 1 ? "worker" : "workers"}, io ${status.io}, ` +
      `${connections.used} of ${connections.capacity} connections\n`,
    portTable(status.ports),
    status.services.length === 0 ? "no virtual services\n" : serviceTable(status.services),
    counterLines(counters),
  ];
  return sections.filter((section) => section !== "").join("\n");
}

function portTable(ports: readonly PortInfo[]): string {
  if (ports.length === 0) return "no ports\n";
  const rows = ports.map((port) => [
    port.name,
    port.kind,
    port.up ? "up" : "down",
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

function serviceName(service: ServiceInfo): string {
  const { id } = service;
  if ("mark" in id) return `FWM ${id.mark}${id.family === 6 ? " IPv6" : ""}`;
  return `${id.protocol.toUpperCase()} ${endpoint(id.family, id.address, id.port)}`;
}

function serviceTable(services: readonly ServiceInfo[]): string {
  const rows = [["SERVICE", "HOW", "WEIGHT", "ACTIVE", "INACTIVE", "CONNS", "IN", "OUT", "CONN/S"]];
  for (const service of services) {
    const persistent = service.persistence === undefined ? "" : `, persistent ${service.persistence}s`;
    const proxied = service.defence?.synProxy ? ", syn-proxy" : "";
    rows.push([
      serviceName(service),
      `${service.scheduler}${persistent}${proxied}`,
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
    }
  }
  const right = "right" as const;
  return table(rows, ["left", "left", right, right, right, right, right, right, right]);
}

function counterLines(counters: CounterInfo): string {
  const listed = (record: Readonly<Record<string, number>>) =>
    Object.entries(record)
      .filter(([, value]) => value > 0)
      .sort(([, a], [, b]) => b - a)
      .map(([name, value]) => `${name} ${count(value)}`)
      .join(", ");
  const verdicts = listed(counters.verdicts);
  const reasons = listed(counters.reasons);
  return (
    `frames in ${count(counters.framesIn)}, out ${count(counters.framesOut)}, made here ${count(counters.generated)}\n` +
    (verdicts === "" ? "" : `ended as ${verdicts}\n`) +
    (reasons === "" ? "" : `dropped for ${reasons}\n`)
  );
}
