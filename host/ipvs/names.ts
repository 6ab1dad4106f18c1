/** Names of hosts and services, from the files and resolver of this machine. Nothing is read before it is needed. */
import { lookup, lookupService } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { parseAddress } from "../address.js";
import type { Family, ServiceProtocol } from "./model.js";

export interface Names {
  servicePort(name: string, protocol: ServiceProtocol): number | undefined;
  serviceName(port: number, protocol: ServiceProtocol): string | undefined;
  /** The IPv4 address of a host: virtual services and real servers are named by IPv4 hosts only. */
  host(name: string): string | undefined;
  /** Asks the resolver, so that host() knows the name afterwards. */
  resolve(name: string): Promise<string | undefined>;
  hostName(family: Family, address: string): Promise<string | undefined>;
}

interface ServicesFile {
  readonly ports: ReadonlyMap<string, number>;
  readonly names: ReadonlyMap<string, string>;
}

function parseServices(text: string): ServicesFile {
  const ports = new Map<string, number>();
  const names = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [name, port, ...aliases] = line.replace(/#.*/, "").trim().split(/\s+/);
    const [, number, protocol] = /^(\d+)\/(\w+)$/.exec(port ?? "") ?? [];
    if (name === undefined || number === undefined || protocol === undefined) continue;
    // The first line that fits is the answer.
    if (!names.has(`${number}/${protocol}`)) names.set(`${number}/${protocol}`, name);
    for (const alias of [name, ...aliases]) {
      if (!ports.has(`${alias}/${protocol}`)) ports.set(`${alias}/${protocol}`, Number(number));
    }
  }
  return { ports, names };
}

function parseHosts(text: string): { addresses: Map<string, string>; names: Map<string, string> } {
  const addresses = new Map<string, string>();
  const names = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [address, ...hosts] = line.replace(/#.*/, "").trim().split(/\s+/);
    const first = hosts[0];
    if (address === undefined || first === undefined || parseAddress(address) === undefined) continue;
    if (!names.has(address)) names.set(address, first);
    if (isIP(address) !== 4) continue;
    for (const host of hosts) {
      const key = host.toLowerCase();
      if (!addresses.has(key)) addresses.set(key, address);
    }
  }
  return { addresses, names };
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Names from /etc/services and /etc/hosts alone: what needs no network. */
export class FileNames implements Names {
  private readonly etc: string;
  private services: ServicesFile | undefined;
  private hosts: ReturnType<typeof parseHosts> | undefined;

  constructor(etc = "/etc") {
    this.etc = etc;
  }

  servicePort(name: string, protocol: ServiceProtocol): number | undefined {
    return this.servicesFile.ports.get(`${name}/${protocol}`);
  }

  serviceName(port: number, protocol: ServiceProtocol): string | undefined {
    return this.servicesFile.names.get(`${port}/${protocol}`);
  }

  host(name: string): string | undefined {
    return this.hostsFile.addresses.get(name.toLowerCase());
  }

  async resolve(name: string): Promise<string | undefined> {
    return this.host(name);
  }

  async hostName(_family: Family, address: string): Promise<string | undefined> {
    return this.hostsFile.names.get(address);
  }

  private get servicesFile(): ServicesFile {
    this.services ??= parseServices(readOrEmpty(`${this.etc}/services`));
    return this.services;
  }

  private get hostsFile(): ReturnType<typeof parseHosts> {
    this.hosts ??= parseHosts(readOrEmpty(`${this.etc}/hosts`));
    return this.hosts;
  }
}

/** The files, then the resolver of this machine. */
export class SystemNames extends FileNames {
  private readonly resolved = new Map<string, string>();

  override host(name: string): string | undefined {
    return super.host(name) ?? this.resolved.get(name);
  }

  override async resolve(name: string): Promise<string | undefined> {
    const known = this.host(name);
    if (known !== undefined) return known;
    try {
      const { address } = await lookup(name, { family: 4 });
      this.resolved.set(name, address);
      return address;
    } catch {
      return undefined;
    }
  }

  override async hostName(family: Family, address: string): Promise<string | undefined> {
    const known = await super.hostName(family, address);
    if (known !== undefined) return known;
    try {
      // A port is compulsory, and its name not wanted.
      const { hostname } = await lookupService(address, 0);
      return hostname === address || isIP(hostname) !== 0 ? undefined : hostname;
    } catch {
      return undefined;
    }
  }
}
