/**
 * A search among connections as the query of a path, both ways:
 *
 *   client=192.0.2.7   virtual=192.0.2.0/24   server=[2001:db8::8]:80   server=:8080   state=ESTABLISHED
 *   protocol=udp   limit=100
 */
import { parseAddress } from "../address.js";
import { type ConnectionFilter, type EndpointFilter, IpvsError } from "../ipvs/model.js";

const EINVAL = 22;
const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };

/** What may stand in the query, and what it means; the OpenAPI document shows it. */
export const CONNECTION_QUERY = {
  client: "ADDRESS, ADDRESS/PREFIX, ADDRESS:PORT or :PORT, IPv6 addresses in brackets before a port",
  virtual: "the virtual address, written like client",
  server: "the real server, written like client",
  state: "as listings print it: ESTABLISHED, SYN_RECV, UDP ...",
  protocol: "tcp, udp, sctp or a number",
  limit: "no more than so many",
} as const;

function invalid(message: string): IpvsError {
  return new IpvsError("EINVAL", EINVAL, message);
}

function whole(name: string, text: string, largest: number, least = 0): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (value < least || value > largest) throw invalid(`${name}=${text}: write a number from ${least} to ${largest}`);
  return value;
}

/** An IPv6 address with a port stands in brackets; without them all colons are its own. */
function formOf(text: string): RegExp {
  if (text.startsWith("[")) return /^\[([^\]]+)\](?:\/(\d+))?(?::(\d+))?$/;
  return text.split(":").length > 2 ? /^([^/]+)(?:\/(\d+))?$/ : /^([^/:]*)(?:\/(\d+))?(?::(\d+))?$/;
}

function endpoint(name: string, text: string): EndpointFilter {
  const [, address = "", length, portText] = formOf(text).exec(text) ?? [];
  const port = portText === undefined ? undefined : whole(`${name}'s port`, portText, 0xffff);
  if (address === "" && length === undefined && port !== undefined) return { port };
  const family = parseAddress(address)?.family;
  if (family === undefined) throw invalid(`${name}=${text}: write ${CONNECTION_QUERY.client}`);
  const bits = family === 6 ? 128 : 32;
  const prefix = length === undefined ? bits : whole(`${name}'s prefix`, length, bits);
  return { network: { family, address, prefix }, port };
}

/** Throws an IpvsError, EINVAL, with what to write instead. */
export function parseConnectionQuery(query: Readonly<Record<string, unknown>>): ConnectionFilter {
  const filter: { -readonly [K in keyof ConnectionFilter]: ConnectionFilter[K] } = {};
  for (const [name, value] of Object.entries(query)) {
    if (!Object.hasOwn(CONNECTION_QUERY, name)) {
      throw invalid(`no connection is searched by ${name}: ${Object.keys(CONNECTION_QUERY).join(", ")}`);
    }
    if (typeof value !== "string") throw invalid(`${name} is given twice`);
    if (value === "") continue;
    if (name === "state") filter.state = value.toUpperCase();
    else if (name === "limit") filter.limit = whole(name, value, 0xffffffff, 1);
    else if (name === "protocol") filter.protocol = PROTOCOLS[value.toLowerCase()] ?? whole(name, value, 255);
    else filter[name as "client" | "virtual" | "server"] = endpoint(name, value);
  }
  return filter;
}

function endpointText({ network, port }: EndpointFilter): string {
  if (network === undefined) return `:${port}`;
  const { family, address, prefix } = network;
  const length = prefix === (family === 6 ? 128 : 32) ? "" : `/${prefix}`;
  if (port === undefined) return `${address}${length}`;
  return `${family === 6 ? `[${address}]` : address}${length}:${port}`;
}

/** "" or "?client=..." */
export function formatConnectionQuery(filter: ConnectionFilter): string {
  const query = new URLSearchParams();
  for (const end of ["client", "virtual", "server"] as const) {
    const wanted = filter[end];
    if (wanted !== undefined) query.set(end, endpointText(wanted));
  }
  for (const name of ["state", "protocol", "limit"] as const) {
    const wanted = filter[name];
    if (wanted !== undefined) query.set(name, `${wanted}`);
  }
  return query.size === 0 ? "" : `?${query}`;
}
