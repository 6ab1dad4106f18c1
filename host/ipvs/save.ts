/** Rules as command lines: what --save prints and --restore reads. */
import { persistenceMask } from "./format.js";
import type { ForwardingName, ServerInfo, ServiceInfo } from "./model.js";
import { numericPlace, type PlaceText, protocolOf } from "./place-text.js";
import { formatSchedulerFlags } from "./scheduler-flags.js";
import { sortServers, sortServices } from "./sort.js";

const SERVICE_OPTION = { tcp: "-t", udp: "-u", sctp: "--sctp-service" } as const;

const FORWARDING_OPTION: Readonly<Record<ForwardingName, string>> = {
  nat: "-m",
  dr: "-g",
  local: "-g",
  bypass: "-g",
  tunnel: "-i",
  fullnat: "--fullnat",
};

export interface SaveOptions {
  /** With the connection thresholds, which ipvsadm loses. */
  readonly complete: boolean;
}

/** One line for each service and server; a text for each service. */
export function* formatRules(
  services: readonly ServiceInfo[],
  place: PlaceText = numericPlace,
  options: SaveOptions = { complete: false },
): Generator<string> {
  for (const service of sortServices(services)) {
    const name = nameOf(service, place);
    let text = `-A ${name} -s ${service.scheduler}${flagsOf(service)}\n`;
    for (const server of sortServers(service.servers.toReversed())) {
      const { family, address, port } = server.id;
      const server_ = `-r ${place(family, address, port, protocolOf(service))} ${FORWARDING_OPTION[server.forwarding]}`;
      const thresholds = options.complete ? thresholdsOf(server) : "";
      text += `-a ${name} ${server_} -w ${server.weight}${thresholds}${tunnelOf(server)}\n`;
    }
    yield text;
  }
}

function nameOf({ id }: ServiceInfo, place: PlaceText): string {
  if ("mark" in id) return `-f ${id.mark}${id.family === 6 ? " -6" : ""}`;
  return `${SERVICE_OPTION[id.protocol]} ${place(id.family, id.address, id.port, id.protocol)}`;
}

function flagsOf(service: ServiceInfo): string {
  let text = "";
  if (service.persistence !== undefined) {
    text += ` -p ${service.persistence}`;
    const mask = persistenceMask(service);
    if (mask !== "") text += ` -M ${mask}`;
  }
  // An engine may be named before there is persistence; listings do not show it then.
  if (service.persistenceEngine !== undefined) text += ` --pe ${service.persistenceEngine}`;
  if (service.onePacket) text += " -o";
  const flags = formatSchedulerFlags(service.scheduler, service.schedulerFlags);
  return flags === "" ? text : `${text} -b ${flags}`;
}

function thresholdsOf({ upperThreshold, lowerThreshold }: ServerInfo): string {
  const upper = upperThreshold === 0 ? "" : ` -x ${upperThreshold}`;
  return lowerThreshold === 0 ? upper : `${upper} -y ${lowerThreshold}`;
}

function tunnelOf({ forwarding, tunnel }: ServerInfo): string {
  if (forwarding !== "tunnel") return "";
  const type = ` --tun-type ${tunnel?.type ?? "ipip"}`;
  if (tunnel?.type === "gue") return `${type} --tun-port ${tunnel.port} --tun-${tunnel.checksum}`;
  return tunnel?.type === "gre" ? `${type} --tun-${tunnel.checksum}` : type;
}
