/**
 * `routes=auto`: what the kernel needs to know so that the director works behind a TUN device, with the kernel's own
 * interface as its only way to the world. Put in as services come, taken away as they go and at the end.
 *
 *   VIP, ip= of the port        route into the device; a proxy neighbour where the link asks for them by Ethernet
 *   answers of nat servers      rule by their source address, to a table whose only route is the device
 *   what comes out of it        rule before those: by the main table, so that nothing goes round
 */
import { readFileSync } from "node:fs";
import { parsePrefix } from "../address.js";
import type { PortSpec } from "../config/config.js";
import { PROTOCOL_IDS } from "../core/control.js";
import { LvsError } from "../errors.js";
import type { Family, ServiceProtocol } from "../ipvs/model.js";
import type { Logger } from "../log.js";
import * as ioctl from "../port/ioctl.js";
import { type KernelRule, Netlink, TABLE_MAIN } from "../port/netlink.js";

/** A real server whose answers must pass by the director. */
export interface AnsweringServer {
  readonly address: string;
  readonly protocol?: ServiceProtocol | undefined;
  readonly port?: number | undefined;
}

/** What is to be led into the device. */
export interface WantedRoutes {
  /** ADDRESS/PREFIX. */
  readonly networks: readonly string[];
  readonly servers: readonly AnsweringServer[];
}

interface Entry {
  put(): void;
  drop(): void;
}

const TABLE_BASE = 0x77000000;
/** Before the kernel's main table (32766), after anything that people count up from 0. */
const PRIORITY_OUT = 31_760;
const PRIORITY_ANSWERS = 31_761;
const EVERYTHING: Readonly<Record<Family, string>> = { 4: "0.0.0.0/0", 6: "::/0" };

/** One that stays over restarts, so that what a keeper that was killed left behind is found again. */
export function tableOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name, "latin1")) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return TABLE_BASE + (hash & 0xffffff);
}

function familyOf(address: string): Family {
  return address.includes(":") ? 6 : 4;
}

export class TunRoutes {
  private readonly spec: PortSpec;
  /** Networks that the configuration names; whatever else is asked for must be a single address. */
  private readonly given: ReadonlySet<string>;
  private readonly log: Logger;
  private netlink: Netlink;
  private wanted: WantedRoutes | undefined;
  private readonly table: number;
  private readonly entries = new Map<string, Entry>();
  /** Device that led to an address before the route into ours was put there; 0: none. */
  private readonly uplinks = new Map<string, number>();
  private readonly said = new Set<string>();

  constructor(spec: PortSpec, given: readonly string[], log: Logger) {
    this.spec = spec;
    this.given = new Set(given);
    this.log = log;
    this.table = tableOf(spec.name);
    this.netlink = new Netlink(spec.netns);
    this.sweep();
  }

  /** Makes the kernel's tables be as wanted. */
  apply(wanted: WantedRoutes): void {
    this.wanted = wanted;
    const device = ioctl.inNamespace(this.spec.netns, () => ioctl.interfaceIndex(this.spec.name));
    // Gone: renew() follows when it is there again.
    if (device === 0) return;
    const next = new Map<string, Entry>();
    for (const network of new Set(wanted.networks)) this.network(network, device, next);
    const servers = wanted.servers.filter(({ address }) => this.isServer(address, device));
    for (const family of [4, 6] as const) {
      if (servers.some(({ address }) => familyOf(address) === family)) this.way(family, device, next);
    }
    for (const server of servers) this.answers(server, next);
    for (const [key, entry] of this.entries) if (!next.has(key)) this.attempt(key, () => entry.drop());
    this.entries.clear();
    for (const [key, entry] of next) {
      if (this.attempt(key, () => entry.put())) this.entries.set(key, entry);
    }
    this.look(servers);
  }

  /** The device was made again, perhaps in another namespace: what led into the one before is gone with it. */
  renew(): void {
    this.netlink.close();
    this.netlink = new Netlink(this.spec.netns);
    this.entries.clear();
    if (this.wanted !== undefined) this.apply(this.wanted);
  }

  close(): void {
    for (const [key, entry] of [...this.entries].reverse()) this.attempt(key, () => entry.drop());
    this.entries.clear();
    this.netlink.close();
  }

  /** A network or address whose packets the director is to get. */
  private network(to: string, device: number, next: Map<string, Entry>): void {
    const address = to.slice(0, to.lastIndexOf("/"));
    const single = parsePrefix(to)?.prefix === (familyOf(address) === 4 ? 32 : 128);
    if (!single && !this.given.has(to)) return;
    const uplink = single ? this.uplinkOf(address, device) : 0;
    if (uplink === undefined) return;
    const { netlink } = this;
    next.set(`route ${to}`, {
      put: () => netlink.putRoute({ to, device }),
      drop: () => netlink.dropRoute({ to, device }),
    });
    if (uplink === 0) return;
    const link = netlink.device(uplink);
    if (!link.ethernet) return;
    next.set(`proxy ${address} ${link.name}`, {
      put: () => netlink.putProxy(address, uplink),
      drop: () => netlink.dropProxy(address, uplink),
    });
  }

  /** The device that leads to an address, ours apart; undefined when the kernel keeps the address to itself. */
  private uplinkOf(address: string, device: number): number | undefined {
    const way = this.netlink.wayTo(address);
    if (way?.local) {
      this.sayOnce(
        `${address} is an address of this machine: its packets never reach the director (ip addr del ${address} dev ...)`,
      );
      return undefined;
    }
    if (way === undefined) this.uplinks.set(address, 0);
    else if (way.device !== device) this.uplinks.set(address, way.device);
    return this.uplinks.get(address) ?? 0;
  }

  private isServer(address: string, device: number): boolean {
    return this.netlink.wayTo(address)?.device !== device;
  }

  private way(family: Family, device: number, next: Map<string, Entry>): void {
    const { netlink, table } = this;
    const route = { to: EVERYTHING[family], device, table };
    next.set(`table ${family}`, { put: () => netlink.putRoute(route), drop: () => netlink.dropRoute(route) });
    const out: KernelRule = { family, priority: PRIORITY_OUT, table: TABLE_MAIN, from: this.spec.name };
    next.set(`out ${family}`, { put: () => netlink.putRule(out), drop: () => netlink.dropRule(out) });
  }

  private answers({ address, protocol, port }: AnsweringServer, next: Map<string, Entry>): void {
    const { netlink, table } = this;
    // Of the machine's own address the rest must go on as it did; of a server behind it fragments have no ports.
    const local = netlink.wayTo(address)?.local ?? false;
    if (local) {
      this.sayOnce(
        `${address} is an address of this machine: with nat all answers from its service's port pass by the director, and who asks ${address}:${port} itself gets no answer (mode fullnat has no such limit)`,
      );
    }
    const rule: KernelRule = {
      family: familyOf(address),
      priority: PRIORITY_ANSWERS,
      table,
      source: address,
      ...(local && protocol !== undefined && { protocol: PROTOCOL_IDS[protocol], sourcePort: port }),
    };
    const key = `answers ${address} ${rule.protocol ?? ""} ${rule.sourcePort ?? ""}`;
    next.set(key, { put: () => netlink.putRule(rule), drop: () => netlink.dropRule(rule) });
  }

  /** Rules that a keeper which was killed left behind. Its routes went with the device. */
  private sweep(): void {
    for (const family of [4, 6] as const) {
      for (const rule of [
        { family, priority: PRIORITY_ANSWERS, table: this.table },
        { family, priority: PRIORITY_OUT, table: TABLE_MAIN, from: this.spec.name },
      ]) {
        try {
          for (let left = 1000; left > 0 && this.netlink.dropRule(rule); left--);
        } catch (error) {
          if (error instanceof ioctl.SystemError && error.errno === ioctl.EPERM) {
            throw new LvsError(
              "ERR_LVS_PERMISSION",
              `--tun ${this.spec.name}: routes=auto changes routes: run as root`,
            );
          }
          // A kernel without IPv6.
        }
      }
    }
  }

  private attempt(what: string, work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      this.log.warn({ event: "routes.failed" }, `routes=auto, ${what}: ${(error as Error).message}`);
      return false;
    }
  }

  /** What the kernel must have been told by its owner: said once, never changed from here. */
  private look(servers: readonly AnsweringServer[]): void {
    const { name, netns } = this.spec;
    const read = (path: string): string | undefined => {
      try {
        return ioctl.inNamespace(netns, () => readFileSync(`/proc/sys/net/${path}`, "latin1").trim());
      } catch {
        return undefined;
      }
    };
    const families = new Set([...this.entries.keys()].filter((key) => key.startsWith("route ")).map(familyOf));
    const links = new Set(
      [...this.entries.keys()].filter((key) => key.startsWith("proxy ")).map((key) => key.split(" ")[2]!),
    );
    if (families.has(4)) {
      const off = [name, ...links].filter((link) => read(`ipv4/conf/${link}/forwarding`) === "0");
      if (off.length > 0) {
        this.sayOnce(
          `${off.join(" and ")} does not forward: sysctl -w net.ipv4.ip_forward=1, or no packet comes through`,
        );
      }
    }
    if (families.has(6)) {
      if (read("ipv6/conf/all/forwarding") === "0") {
        this.sayOnce("IPv6 is not forwarded: sysctl -w net.ipv6.conf.all.forwarding=1, or no packet comes through");
      }
      for (const link of links) {
        if (read(`ipv6/conf/${link}/proxy_ndp`) !== "0" || read("ipv6/conf/all/proxy_ndp") !== "0") continue;
        if (![...this.entries.keys()].some((key) => key.startsWith("proxy ") && familyOf(key.split(" ")[1]!) === 6))
          continue;
        this.sayOnce(`${link} does not answer for IPv6 neighbours: sysctl -w net.ipv6.conf.${link}.proxy_ndp=1`);
      }
    }
    if (servers.some(({ address }) => familyOf(address) === 4)) {
      const strict = ["all", name].filter((link) => (read(`ipv4/conf/${link}/rp_filter`) ?? "0") !== "0");
      if (strict.length > 0) {
        const settings = strict.map((link) => `net.ipv4.conf.${link}.rp_filter=0`).join(" ");
        this.sayOnce(
          `rp_filter drops what comes out of ${name} with clients' addresses (mode nat): sysctl -w ${settings}`,
        );
      }
    }
  }

  private sayOnce(text: string): void {
    if (this.said.has(text)) return;
    this.said.add(text);
    this.log.warn({ event: "routes.advice" }, `--tun ${this.spec.name}, routes=auto: ${text}`);
  }
}
