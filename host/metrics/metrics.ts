/** `/metrics`: what the core counted, read from its memory, and what this process counts itself. */
import * as Worker from "../../assembly/layout/worker.js";
import type {
  CounterInfo,
  DirectorStatus,
  Occupancy,
  PortInfo,
  ServerHealth,
  WorkerInfo,
} from "../control/director-info.js";
import { serverKey, serviceKey } from "../control/keys.js";
import type { DefenceInfo, ServerInfo, ServiceId, ServiceInfo, Stats } from "../ipvs/model.js";
import { Exposition, labels } from "./exposition.js";
import { FAMILIES } from "./families.js";
import { Pace } from "./pace.js";
import type { ProcessMetrics } from "./process-metrics.js";

export { ProcessMetrics } from "./process-metrics.js";

/** Series of their own have the first so many services and servers, in the order of adding. */
export const SERVICES_MOST = 4000;
export const SERVERS_MOST = 8000;

export interface MetricsSource {
  status(): DirectorStatus;
  ports(): PortInfo[];
  counters(): CounterInfo;
  workers(): WorkerInfo[];
  occupancy(): Occupancy[];
  health(): ServerHealth[];
  /** Frames that wait for a neighbour's address. */
  waiting(): number;
  totals(): Stats;
  /** As they are now, decoded as they are asked for. */
  frozenServices(): { readonly count: number; readonly services: Iterable<ServiceInfo> };
}

type Text = Exposition<typeof FAMILIES>;

const FRAME_BOUNDS = Array.from({ length: Worker.FRAMES_BUCKET_COUNT - 1 }, (_, n) => 2 ** n - 1);
/** Powers of two of microseconds, in seconds without noise of binary fractions. */
const DURATION_BOUNDS = Array.from({ length: Worker.DURATION_BUCKET_COUNT - 1 }, (_, n) => Number(`${2 ** n}e-6`));

/** The whole of it, in pieces; what is read from memory is of one moment. */
export async function* metricsText(source: MetricsSource, own: ProcessMetrics): AsyncGenerator<string> {
  const text: Text = new Exposition(FAMILIES);
  const { count, services } = source.frozenServices();
  const health = source.health();
  addTotals(text, source);
  for (const port of source.ports()) addPort(text, port);
  for (const [worker, counters] of source.workers().entries()) addWorker(text, worker, counters);
  const pace = new Pace();
  const backends = new Backends();
  let shown = 0;
  let servers = 0;
  let serversLeft = 0;
  for (const service of services) {
    if (shown >= SERVICES_MOST) serversLeft += service.servers.length;
    else {
      shown++;
      const room = Math.max(0, SERVERS_MOST - servers);
      const those = service.servers.slice(0, room);
      serversLeft += service.servers.length - those.length;
      servers += those.length;
      addService(text, service, those);
      for (const server of those) backends.add(service.id, server);
    }
    if (pace.isDue) await pace.rest();
  }
  for (const [name, { active, inactive, weight }] of backends.sums) {
    text.add("node_ipvs_backend_connections_active", name, active);
    text.add("node_ipvs_backend_connections_inactive", name, inactive);
    text.add("node_ipvs_backend_weight", name, weight);
    if (pace.isDue) await pace.rest();
  }
  for (const one of health.slice(0, SERVERS_MOST)) {
    addHealth(text, one);
    if (pace.isDue) await pace.rest();
  }
  text.add("wlvs_series_left_out", labels({ of: "services" }), count - shown);
  text.add("wlvs_series_left_out", labels({ of: "servers" }), serversLeft);
  yield await own.text(source.status());
  for (const piece of text.text()) {
    yield piece;
    if (pace.isDue) await pace.rest();
  }
}

function addTotals(text: Text, source: MetricsSource): void {
  const totals = source.totals();
  text.add("node_ipvs_connections_total", "", totals.connections);
  text.add("node_ipvs_incoming_packets_total", "", totals.inPackets);
  text.add("node_ipvs_outgoing_packets_total", "", totals.outPackets);
  text.add("node_ipvs_incoming_bytes_total", "", totals.inBytes);
  text.add("node_ipvs_outgoing_bytes_total", "", totals.outBytes);
  const counters = source.counters();
  text.add("wlvs_frames_in_total", "", counters.framesIn);
  text.add("wlvs_frames_out_total", "", counters.framesOut);
  text.add("wlvs_frames_generated_total", "", counters.generated);
  text.add("wlvs_evictions_total", "", counters.evictions);
  text.add("wlvs_neighbours_changed_total", "", counters.neighboursChanged);
  text.add("wlvs_neighbours_evicted_total", "", counters.neighboursEvicted);
  text.add("wlvs_fragments_evicted_total", "", counters.fragmentsEvicted);
  text.add("wlvs_errors_withheld_total", "", counters.errorsWithheld);
  const { answered, accepted, invalid, ...servers } = counters.synProxy;
  text.add("wlvs_syn_cookies_sent_total", "", answered);
  text.add("wlvs_syn_cookies_received_total", labels({ result: "valid" }), accepted);
  text.add("wlvs_syn_cookies_received_total", labels({ result: "invalid" }), invalid);
  for (const [result, value] of Object.entries(servers)) {
    text.add("wlvs_syn_proxy_handshakes_total", labels({ result }), value);
  }
  text.add("wlvs_traps_total", "", counters.traps);
  for (const [verdict, value] of Object.entries(counters.verdicts)) {
    text.add("wlvs_verdicts_total", labels({ verdict }), value);
  }
  for (const [reason, value] of Object.entries(counters.reasons)) {
    text.add("wlvs_drops_total", labels({ reason }), value);
  }
  for (const { table, used, capacity } of source.occupancy()) {
    text.add("wlvs_table_entries", labels({ table }), used);
    text.add("wlvs_table_capacity", labels({ table }), capacity);
  }
  text.add("wlvs_waiting_frames", "", source.waiting());
}

function addPort(
  text: Text,
  { name: port, up, framesIn, framesOut, bytesIn, bytesOut, dropsOut, device, remade }: PortInfo,
): void {
  const [of, inward, outward] = [
    labels({ port }),
    labels({ port, direction: "in" }),
    labels({ port, direction: "out" }),
  ];
  text.add("wlvs_port_up", of, up ? 1 : 0);
  text.add("wlvs_port_frames_total", inward, framesIn);
  text.add("wlvs_port_frames_total", outward, framesOut);
  text.add("wlvs_port_bytes_total", inward, bytesIn);
  text.add("wlvs_port_bytes_total", outward, bytesOut);
  text.add("wlvs_port_send_failures_total", of, dropsOut);
  text.add("wlvs_port_remade_total", of, remade ?? 0);
  if (device === undefined) return;
  text.add("wlvs_device_carrier", of, device.carrier ? 1 : 0);
  text.add("wlvs_device_queue_length", of, device.queueLength);
  text.add("wlvs_device_lost_total", inward, device.lostIn);
  text.add("wlvs_device_lost_total", outward, device.lostOut);
}

function addWorker(text: Text, worker: number, counters: WorkerInfo): void {
  text.add("wlvs_worker_frames_total", labels({ worker, direction: "in" }), counters.framesIn);
  text.add("wlvs_worker_frames_total", labels({ worker, direction: "out" }), counters.framesOut);
  text.add("wlvs_worker_bytes_total", labels({ worker }), counters.bytesIn);
  text.add("wlvs_worker_busy_seconds_total", labels({ worker }), counters.busy);
  text.add("wlvs_worker_restarts_total", labels({ worker }), counters.restarts ?? 0);
  text.add("wlvs_worker_held_buffers", labels({ worker }), counters.held);
  text.histogram("wlvs_breath_duration_seconds", { worker }, DURATION_BOUNDS, counters.durations, counters.busy);
  text.histogram("wlvs_breath_frames", { worker }, FRAME_BOUNDS, counters.frames, counters.framesIn);
}

function addService(text: Text, service: ServiceInfo, servers: readonly ServerInfo[]): void {
  const name = labels({ service: serviceKey(service.id) });
  const inner = name.slice(1, -1);
  addStats(text, "wlvs_service", inner, service.stats);
  text.add("wlvs_service_servers", name, service.servers.length);
  if (service.defence !== undefined) addDefence(text, inner, service.defence);
  for (const server of servers) {
    const its = `${inner},server="${serverKey(server.id)}"`;
    addStats(text, "wlvs_server", its, server.stats);
    if (server.refused !== undefined) text.add("wlvs_server_refused_total", `{${its}}`, server.refused);
    if (server.unanswered !== undefined) text.add("wlvs_server_unanswered_total", `{${its}}`, server.unanswered);
  }
}

function addDefence(text: Text, inner: string, { synProxy, switches, halfOpen, refused }: DefenceInfo): void {
  text.add("wlvs_service_syn_proxy", `{${inner}}`, synProxy ? 1 : 0);
  text.add("wlvs_service_syn_proxy_switches_total", `{${inner}}`, switches);
  text.add("wlvs_service_half_open", `{${inner}}`, halfOpen);
  for (const [limit, value] of Object.entries(refused))
    text.add("wlvs_service_refused_total", `{${inner},limit="${limit}"}`, value);
}

function addStats(text: Text, subject: "wlvs_service" | "wlvs_server", inner: string, stats: Stats): void {
  const inward = `{${inner},direction="in"}`;
  const outward = `{${inner},direction="out"}`;
  text.add(`${subject}_connections_total`, `{${inner}}`, stats.connections);
  text.add(`${subject}_packets_total`, inward, stats.inPackets);
  text.add(`${subject}_packets_total`, outward, stats.outPackets);
  text.add(`${subject}_bytes_total`, inward, stats.inBytes);
  text.add(`${subject}_bytes_total`, outward, stats.outBytes);
}

function addHealth(text: Text, { service, server, state, took, passed, failed }: ServerHealth): void {
  const inner = `service="${service}",server="${server}"`;
  if (state !== "unknown") text.add("wlvs_server_up", `{${inner}}`, state === "up" ? 1 : 0);
  if (took !== undefined) text.add("wlvs_check_duration_seconds", `{${inner}}`, took / 1000);
  text.add("wlvs_check_results_total", `{${inner},result="passed"}`, passed);
  text.add("wlvs_check_results_total", `{${inner},result="failed"}`, failed);
}

/**
 * What node_exporter shows of backends. Two that it would name alike (a mark's services of both families may have one
 * server) are one, added up as it does.
 */
class Backends {
  readonly sums = new Map<string, { active: number; inactive: number; weight: number }>();

  add(service: ServiceId, { id, active, inactive, weight }: ServerInfo): void {
    const local =
      "mark" in service
        ? { address: "", mark: service.mark.toString(16).toUpperCase().padStart(8, "0"), port: 0, proto: "FWM" }
        : { address: service.address, mark: "", port: service.port, proto: service.protocol.toUpperCase() };
    const name =
      `{local_address="${local.address}",local_mark="${local.mark}",local_port="${local.port}",` +
      `proto="${local.proto}",remote_address="${id.address}",remote_port="${id.port}"}`;
    const sum = this.sums.get(name);
    if (sum === undefined) {
      this.sums.set(name, { active, inactive, weight });
      return;
    }
    sum.active += active;
    sum.inactive += inactive;
    sum.weight += weight;
  }
}
