/** wlvs as a library: talk to a running director, speak ipvsadm, serve the API over a director of one's own. */
export { DEFAULT_SOCKET, RemoteIpvs, socketPath } from "./control/client.js";
export type {
  CounterInfo,
  DirectorInfo,
  DirectorStatus,
  NeighbourInfo,
  PortInfo,
  RouteInfo,
  Settings,
} from "./control/director-info.js";
export { parseServerKey, parseServiceKey, serverKey, serviceKey } from "./control/keys.js";
export {
  type ControlServer,
  type ControlServerOptions,
  createControlServer,
  type ListenOptions,
} from "./control/server.js";
export { LvsError, type LvsErrorCode } from "./errors.js";
export { type IpvsadmIo, runIpvsadm } from "./ipvs/command.js";
export * from "./ipvs/model.js";
