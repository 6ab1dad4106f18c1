/**
 * Services and real servers as one word of text: what stands in a path of the API, and what messages name them by.
 *
 *   tcp:192.0.2.1:80   udp:[2001:db8::1]:53   mark:7:ipv4   mark:7:ipv6        192.0.2.8:80   [2001:db8::8]:80
 */
import { isIPv4 } from "node:net";
import { isIPv6 } from "../address.js";
import type { Family, ServerId, ServiceId, ServiceProtocol } from "../ipvs/model.js";

export function endpoint(family: Family, address: string, port: number): string {
  return family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}

export function serviceKey(id: ServiceId): string {
  if ("mark" in id) return `mark:${id.mark}:ipv${id.family}`;
  return `${id.protocol}:${endpoint(id.family, id.address, id.port)}`;
}

export function serverKey(id: ServerId): string {
  return endpoint(id.family, id.address, id.port);
}

/** undefined when the text names no service. */
export function parseServiceKey(text: string): ServiceId | undefined {
  const mark = /^mark:(\d{1,10}):ipv([46])$/.exec(text);
  if (mark !== null) {
    const value = Number(mark[1]);
    return value > 0 && value <= 0xffffffff ? { family: mark[2] === "6" ? 6 : 4, mark: value } : undefined;
  }
  const named = /^(tcp|udp|sctp):(.+)$/.exec(text);
  const server = named === null ? undefined : parseServerKey(named[2]!);
  return server === undefined ? undefined : { ...server, protocol: named![1] as ServiceProtocol };
}

/** undefined when the text names no real server. */
export function parseServerKey(text: string): ServerId | undefined {
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (parts === null) return undefined;
  const port = Number(parts[3]);
  if (port > 0xffff) return undefined;
  const [, six, four] = parts;
  if (six !== undefined) return isIPv6(six) ? { family: 6, address: six, port } : undefined;
  return isIPv4(four!) ? { family: 4, address: four!, port } : undefined;
}
