/**
 * What the API takes and gives, as zod schemas: requests are checked against them, and the OpenAPI document is made
 * from them. The types are those of host/ipvs/model.ts; the assignments at the end make the compiler compare the two.
 */
import { isIPv4 } from "node:net";
import { z } from "zod";
import { isIPv6 } from "../address.js";
import type { ConnectionInfo, DaemonInfo, IpvsStep, ServerConfig, ServiceConfig, ServiceInfo } from "../ipvs/model.js";
import type { ConnectionEvent, TraceRecord } from "../trace/model.js";
import { SAMPLE_MOST, SNAP_MOST } from "../trace/tracer.js";
import type {
  CounterInfo,
  DirectorStatus,
  NeighbourInfo,
  Occupancy,
  PortInfo,
  RouteInfo,
  WorkerInfo,
} from "./director-info.js";

const family = z.union([z.literal(4), z.literal(6)]);
const port = z.int().min(0).max(0xffff);
const u32 = z.int().min(0).max(0xffffffff);
const counter = z.number().min(0);
const address = z.string().max(45);
const ofFamily = (value: { family: 4 | 6; address: string }) =>
  value.family === 4 ? isIPv4(value.address) : isIPv6(value.address);
const wrongFamily = { error: "the address is none of that family" };

const protocolService = z.strictObject({
  family,
  protocol: z.enum(["tcp", "udp", "sctp"]),
  address,
  port,
});
const markService = z.strictObject({ family, mark: z.int().min(1).max(0xffffffff) });

export const serviceId = z.union([protocolService.refine(ofFamily, wrongFamily), markService]);
export const serverId = z.strictObject({ family, address, port }).refine(ofFamily, wrongFamily);

const limit = { connections: u32.optional(), rate: z.int().min(0).max(10_000_000).optional() };
const serviceFields = {
  id: serviceId,
  scheduler: z.string().min(1).max(15),
  persistence: z.int().min(1).max(0xffffffff).optional(),
  persistencePrefix: z.int().min(0).max(128),
  persistenceNetmask: z.string().max(15).refine(isIPv4).optional(),
  persistenceEngine: z.string().min(1).max(15).optional(),
  onePacket: z.boolean(),
  schedulerFlags: z.int().min(0).max(7),
  synProxy: z.enum(["default", "auto", "on", "off"]).optional(),
  limits: z.strictObject({ ...limit, perSource: z.strictObject(limit).optional() }).optional(),
};
export const serviceConfig = z.strictObject(serviceFields);

const serverFields = {
  id: serverId,
  forwarding: z.enum(["nat", "dr", "tunnel", "local", "bypass", "fullnat"]),
  // The kernel takes any number and answers ERANGE itself for a negative one.
  weight: z.int().min(-0x80000000).max(0x7fffffff),
  upperThreshold: u32,
  lowerThreshold: u32,
  tunnel: z
    .strictObject({
      type: z.enum(["ipip", "gue", "gre"]),
      port,
      checksum: z.enum(["nocsum", "csum", "remcsum"]),
    })
    .optional(),
};
export const serverConfig = z.strictObject(serverFields);

const asked = (most: number) => z.coerce.number().int().min(0).max(most).optional();
export const traceQuery = z.strictObject({
  filter: z.string().max(4096).optional(),
  count: asked(Number.MAX_SAFE_INTEGER),
  snap: asked(SNAP_MOST),
  rate: asked(0xffffffff),
  notices: z.coerce
    .number()
    .pipe(z.union([z.literal(0), z.literal(1)]))
    .optional(),
});
export type TraceQuery = z.infer<typeof traceQuery>;
export const eventsQuery = z.strictObject({
  sample: z.coerce.number().int().min(1).max(SAMPLE_MOST).optional(),
  count: asked(Number.MAX_SAFE_INTEGER),
});
export type EventsQuery = z.infer<typeof eventsQuery>;

export const stats = z.object({
  connections: counter,
  inPackets: counter,
  outPackets: counter,
  inBytes: counter,
  outBytes: counter,
});
export const rates = z.object({ cps: counter, inPps: counter, outPps: counter, inBps: counter, outBps: counter });

export const serverInfo = z.object({
  ...serverFields,
  active: counter,
  inactive: counter,
  persistent: counter,
  refused: counter.optional(),
  unanswered: counter.optional(),
  stats,
  rates,
});
export const defenceInfo = z.object({
  synProxy: z.boolean(),
  switches: counter,
  halfOpen: counter,
  refused: z.object({ connections: counter, rate: counter, source: counter }),
});
export const serviceInfo = z.object({
  ...serviceFields,
  defence: defenceInfo.optional(),
  stats,
  rates,
  servers: z.array(serverInfo),
});

export const connectionInfo = z.object({
  family,
  protocol: z.int().min(0).max(255),
  state: z.string(),
  expires: counter,
  client: address,
  clientPort: port,
  virtual: address,
  virtualPort: port,
  server: address,
  serverPort: port,
  serverFamily: family,
  local: address.optional(),
  localPort: port.optional(),
  template: z.boolean(),
  persistenceEngine: z.string().optional(),
  persistenceData: z.string().optional(),
});

export const timeouts = z.strictObject({ tcp: u32, tcpFin: u32, udp: u32 });
export const totals = z.object({ stats, rates, tableSize: counter });
export const settings = z.record(z.string().max(64), z.union([u32, z.string().regex(/^\d{1,10}( \d{1,10})?$/)]));
export const daemonRole = z.enum(["master", "backup"]);
export const daemonInfo = z.strictObject({
  role: daemonRole,
  interface: z.string().min(1).max(15),
  syncId: z.int().min(0).max(255),
  maxLength: u32.optional(),
  group: address.optional(),
  port: port.optional(),
  ttl: z.int().min(0).max(255).optional(),
});

export const step = z.union([
  z.strictObject({ do: z.enum(["addService", "editService"]), service: serviceConfig }),
  z.strictObject({ do: z.literal("removeService"), id: serviceId }),
  z.strictObject({ do: z.enum(["addServer", "editServer"]), service: serviceId, server: serverConfig }),
  z.strictObject({ do: z.literal("removeServer"), service: serviceId, server: serverId }),
  z.strictObject({ do: z.literal("flush") }),
]);
export const transaction = z.strictObject({ steps: z.array(step) });

export const portInfo = z.object({
  name: z.string(),
  kind: z.enum(["tap", "tun", "pcap", "memory"]),
  up: z.boolean(),
  mac: z.string().optional(),
  mtu: z.int(),
  addresses: z.array(z.string()),
  offloads: z.array(z.string()),
  netns: z.string().optional(),
  bridge: z.string().optional(),
  framesIn: counter,
  framesOut: counter,
  bytesIn: counter,
  bytesOut: counter,
  dropsOut: counter,
  device: z.object({ carrier: z.boolean(), queueLength: counter, lostIn: counter, lostOut: counter }).optional(),
  problem: z.string().optional(),
  remade: counter.optional(),
});
export const workerInfo = z.object({
  breaths: counter,
  framesIn: counter,
  bytesIn: counter,
  framesOut: counter,
  busy: counter,
  held: counter,
  frames: z.array(counter),
  durations: z.array(counter),
  restarts: counter.optional(),
});
export const occupancy = z.object({ table: z.string(), used: counter, capacity: counter });
export const neighbourInfo = z.object({
  port: z.string(),
  address,
  mac: z.string().optional(),
  state: z.string(),
});
export const routeInfo = z.object({
  destination: z.string(),
  via: z.string().optional(),
  port: z.string().optional(),
  metric: u32,
  kind: z.enum(["local", "unreachable"]).optional(),
  mark: u32.optional(),
});
export const marksChange = z.strictObject({ rules: z.string().max(1 << 20) });
export const marksInfo = z.object({ rules: z.string(), count: z.int().min(0) });
export const serverHealth = z.object({
  service: z.string(),
  server: z.string(),
  state: z.enum(["up", "down", "unknown"]),
  problem: z.string().optional(),
  took: counter.optional(),
  passed: counter,
  failed: counter,
});
export const configurationInfo = z.object({
  file: z.string().optional(),
  read: z.string(),
  drift: z.array(z.string()),
  refused: z.object({ at: z.string(), message: z.string() }).optional(),
});
export const upgradeResult = z.object({
  pid: z.int(),
  version: z.string(),
  connections: z.int(),
  pause: z.number(),
});

export const reloadResult = z.object({ changes: z.array(z.string()), restart: z.array(z.string()) });
export const counterInfo = z.object({
  framesIn: counter,
  framesOut: counter,
  generated: counter,
  evictions: counter,
  synProxy: z.object({
    answered: counter,
    accepted: counter,
    invalid: counter,
    spliced: counter,
    refused: counter,
    silent: counter,
  }),
  neighboursChanged: counter,
  neighboursEvicted: counter,
  fragmentsEvicted: counter,
  errorsWithheld: counter,
  traps: counter,
  verdicts: z.record(z.string(), counter),
  reasons: z.record(z.string(), counter),
});
export const directorStatus = z.object({
  version: z.string(),
  pid: z.int(),
  uptime: counter,
  profile: z.string(),
  workers: z.int(),
  io: z.string(),
  connections: z.object({ used: counter, capacity: counter }),
});
export const status = z.object({ ...directorStatus.shape, ports: z.array(portInfo), services: z.array(serviceInfo) });

const portName = z.string().nullable();
export const traceRecord = z.object({
  time: z.number().meta({ description: "Milliseconds since 1970" }),
  worker: z.int(),
  in: portName,
  out: portName,
  verdict: z.enum(["forward", "local", "consumed", "drop"]),
  reason: z.string().optional(),
  made: z.boolean().meta({ description: "The director made this frame itself" }),
  stages: z.array(z.object({ stage: z.string(), text: z.string() })),
  service: z.string().optional(),
  server: z.string().optional(),
  forwarding: z.string().optional(),
  connection: z
    .object({
      client: z.string(),
      clientPort: port,
      virtual: z.string(),
      virtualPort: port,
      server: z.string(),
      serverPort: port,
      state: z.string(),
      new: z.boolean(),
    })
    .optional(),
  before: z.string().meta({ description: "Hexadecimal; empty when the frame did not come just now" }),
  after: z.string().nullable().meta({ description: "null when nothing left" }),
  beforeLength: counter.optional().meta({ description: "Bytes that it had, where some were left out" }),
  afterLength: counter.optional(),
  beforeVnet: z.string().optional().meta({ description: "The device's vnet_hdr, where it says anything" }),
  afterVnet: z.string().optional(),
  text: z.string(),
  lost: counter.optional().meta({ description: "Records before this one that there was no room for" }),
  limited: counter.optional().meta({ description: "Records before this one that were over the rate" }),
});
export const traceOrigin = z.object({
  seed: z.int(),
  nextId: z.int(),
  epoch: z.number().meta({ description: "Milliseconds since 1970 at tick 0" }),
  ports: z.array(z.object({ name: z.string(), link: z.boolean(), mac: z.string().optional() })),
});
const bothWays = z.object({ in: counter, out: counter });
export const connectionEvent = z.object({
  time: z.number(),
  event: z.enum(["open", "close"]),
  worker: z.int(),
  protocol: z.string(),
  client: z.string(),
  clientPort: port,
  virtual: z.string(),
  virtualPort: port,
  server: z.string(),
  serverPort: port,
  forwarding: z.string(),
  state: z.string(),
  packets: bothWays.optional(),
  bytes: bothWays.optional(),
  duration: counter.optional().meta({ description: "Milliseconds" }),
  lost: counter.optional(),
});

export const error = z.object({
  error: z.object({
    code: z.string().meta({ description: "ENOENT, EEXIST ... as the kernel's tables would say, or ERR_LVS_..." }),
    errno: z.int().meta({ description: "Linux number of the code; 0 when it has none" }),
    message: z.string(),
  }),
});

/** Compiles only while the schemas say what the model says. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
type Mutable<T> = T extends object ? { -readonly [K in keyof T]: Mutable<T[K]> } : T;
export const agreesWithModel: [
  Same<z.infer<typeof serviceConfig>, Mutable<ServiceConfig>>,
  Same<z.infer<typeof serverConfig>, Mutable<ServerConfig>>,
  Same<z.infer<typeof serviceInfo>, Mutable<ServiceInfo>>,
  Same<z.infer<typeof connectionInfo>, Mutable<ConnectionInfo>>,
  Same<z.infer<typeof daemonInfo>, Mutable<DaemonInfo>>,
  Same<z.infer<typeof step>, Mutable<IpvsStep>>,
  Same<z.infer<typeof portInfo>, Mutable<PortInfo>>,
  Same<z.infer<typeof neighbourInfo>, Mutable<NeighbourInfo>>,
  Same<z.infer<typeof routeInfo>, Mutable<RouteInfo>>,
  Same<z.infer<typeof counterInfo>, Mutable<CounterInfo>>,
  Same<z.infer<typeof directorStatus>, Mutable<DirectorStatus>>,
  Same<z.infer<typeof workerInfo>, Mutable<WorkerInfo>>,
  Same<z.infer<typeof occupancy>, Mutable<Occupancy>>,
  Same<z.infer<typeof traceRecord>, Mutable<TraceRecord>>,
  Same<z.infer<typeof connectionEvent>, Mutable<ConnectionEvent>>,
] = [true, true, true, true, true, true, true, true, true, true, true, true, true, true, true];
