/**
 * Routes, policy rules and proxy neighbours of the kernel, through rtnetlink (RFC 3549). Answers come at once: the kernel
 * has worked when the request is written.
 */
import { addressBytes, formatAddress, parsePrefix } from "../address.js";
import type { Family } from "../ipvs/model.js";
import * as ioctl from "./ioctl.js";
import * as native from "./native.js";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const AF: Readonly<Record<Family, number>> = { 4: 2, 6: 10 };

const NLM_REQUEST = 1;
const NLM_ACK = 4;
const NLM_REPLACE = 0x100;
const NLM_EXCLUSIVE = 0x200;
const NLM_CREATE = 0x400;
const NLMSG_ERROR = 2;
const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;

const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_QUEUE_LENGTH = 13;
const IFLA_STATS64 = 23;
/** Places among the eight-byte numbers of IFLA_STATS64. */
const RX_ERRORS = 4;
const TX_ERRORS = 5;
const RX_DROPPED = 6;
const TX_DROPPED = 7;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_TABLE = 15;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const RTPROT_STATIC = 4;
const SCOPE_LINK = 253;
const NDA_DST = 1;
const NTF_PROXY = 8;
const NUD_PERMANENT = 0x80;
const FRA_SRC = 2;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_TABLE = 15;
const FRA_IP_PROTOCOL = 22;
const FRA_SOURCE_PORTS = 23;
const TO_TABLE = 1;
const ARPHRD_ETHER = 1;
const IFF_NOARP = 0x80;
/** Up, and with a carrier. */
const IFF_LOWER_UP = 0x10000;
const IFLA_NAME = 3;

const HEADER = 16;
const BUFFER_SIZE = 32768;
const EEXIST = 17;
const ENOENT = 2;
const ESRCH = 3;
const ENODEV = 19;
export const TABLE_MAIN = 254;

/** How the kernel would send to an address. */
export interface Way {
  /** One of the kernel's own. */
  readonly local: boolean;
  /** Index of the device. */
  readonly device: number;
  readonly gateway?: string | undefined;
}

/** A device as the kernel counts: what it transmits goes to the director, what it receives comes from there. */
export interface LinkCounters {
  readonly index: number;
  /** Of the bridge that it is a port of; 0: of none. */
  readonly master: number;
  readonly mtu: number;
  readonly carrier: boolean;
  readonly queueLength: number;
  /** Dropped, or wrong. */
  readonly txLost: number;
  readonly rxLost: number;
}

export interface KernelRoute {
  /** ADDRESS/PREFIX. */
  readonly to: string;
  readonly device: number;
  /** The main one by default. */
  readonly table?: number | undefined;
}

/** A rule that sends to a table; what is not given is not looked at. */
export interface KernelRule {
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly source?: string | undefined;
  /** Device that packets came in by. */
  readonly from?: string | undefined;
  readonly protocol?: number | undefined;
  readonly sourcePort?: number | undefined;
}

interface Attribute {
  readonly type: number;
  readonly data: Uint8Array;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

function encode(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(
    attributes.map(({ type, data }) => {
      const bytes = Buffer.alloc((4 + data.length + 3) & ~3);
      bytes.writeUInt16LE(4 + data.length, 0);
      bytes.writeUInt16LE(type, 2);
      bytes.set(data, 4);
      return bytes;
    }),
  );
}

function decode(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < 4 || at + length > bytes.length) break;
    found.set(bytes.readUInt16LE(at + 2) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

/** Address bytes as long as the family's. */
function raw(address: string): { family: Family; bytes: Uint8Array } {
  const { family, bytes } = addressBytes(address);
  return { family, bytes: bytes.subarray(0, family === 4 ? 4 : 16) };
}

export class Netlink {
  /** The socket's descriptor: another process may go on with it. */
  readonly fd: number;
  private readonly buffer = Buffer.alloc(BUFFER_SIZE);
  private sequence = 0;

  /** A socket into the tables of a network namespace, of this process' own by default; or one that is open already. */
  constructor(where?: string | { readonly fd: number }) {
    if (typeof where === "object") {
      this.fd = where.fd;
      return;
    }
    const netns = where;
    this.fd = ioctl.inNamespace(netns, () => native.socket(AF_NETLINK, SOCK_RAW | native.SOCK_CLOEXEC, 0));
    if (this.fd < 0) throw new ioctl.SystemError("netlink socket", native.errno());
  }

  close(): void {
    native.close(this.fd);
  }

  /** Undefined when there is no way. */
  wayTo(address: string): Way | undefined {
    const { family, bytes } = raw(address);
    const body = Buffer.alloc(12);
    body[0] = AF[family];
    body[1] = bytes.length * 8;
    let answer: Buffer | undefined;
    try {
      answer = this.request(RTM_GETROUTE, NLM_REQUEST, body, [{ type: RTA_DST, data: bytes }], RTM_NEWROUTE);
    } catch (error) {
      if (error instanceof ioctl.SystemError && error.errno !== ioctl.EPERM) return undefined;
      throw error;
    }
    const attributes = decode(answer!.subarray(12));
    const gateway = attributes.get(RTA_GATEWAY);
    return {
      local: answer![7] === RTN_LOCAL,
      device: attributes.get(RTA_OIF)?.readUInt32LE() ?? 0,
      gateway: gateway === undefined ? undefined : formatAddress(family, gateway),
    };
  }

  /** A device by its index: its name, and whether it asks for its neighbours by Ethernet's means. */
  device(index: number): { name: string; ethernet: boolean } {
    const body = Buffer.alloc(16);
    body.writeInt32LE(index, 4);
    const answer = this.request(RTM_GETLINK, NLM_REQUEST, body, [], RTM_NEWLINK)!;
    const name = decode(answer.subarray(16)).get(IFLA_NAME);
    const ethernet = answer.readUInt16LE(2) === ARPHRD_ETHER && (answer.readUInt32LE(8) & IFF_NOARP) === 0;
    return { name: name?.toString("latin1").replace(/\0.*$/, "") ?? "", ethernet };
  }

  /** A device by its name; undefined when there is none. */
  link(name: string): LinkCounters | undefined {
    const attributes = [{ type: IFLA_NAME, data: Buffer.from(`${name}\0`, "latin1") }];
    let answer: Buffer;
    try {
      answer = this.request(RTM_GETLINK, NLM_REQUEST, Buffer.alloc(16), attributes, RTM_NEWLINK)!;
    } catch (error) {
      if (error instanceof ioctl.SystemError && error.errno === ENODEV) return undefined;
      throw error;
    }
    const found = decode(answer.subarray(16));
    const stats = found.get(IFLA_STATS64);
    const number = (place: number) => (stats === undefined ? 0 : Number(stats.readBigUInt64LE(8 * place)));
    return {
      index: answer.readInt32LE(4),
      master: found.get(IFLA_MASTER)?.readUInt32LE() ?? 0,
      mtu: found.get(IFLA_MTU)?.readUInt32LE() ?? 0,
      carrier: (answer.readUInt32LE(8) & IFF_LOWER_UP) !== 0,
      queueLength: found.get(IFLA_QUEUE_LENGTH)?.readUInt32LE() ?? 0,
      txLost: number(TX_DROPPED) + number(TX_ERRORS),
      rxLost: number(RX_DROPPED) + number(RX_ERRORS),
    };
  }

  putRoute(route: KernelRoute): void {
    this.route(RTM_NEWROUTE, NLM_CREATE | NLM_REPLACE, route);
  }

  dropRoute(route: KernelRoute): void {
    this.forgiving(ESRCH, () => this.route(RTM_DELROUTE, 0, route));
  }

  putRule(rule: KernelRule): void {
    this.forgiving(EEXIST, () => this.rule(RTM_NEWRULE, NLM_CREATE | NLM_EXCLUSIVE, rule));
  }

  /** Whether there was one. */
  dropRule(rule: KernelRule): boolean {
    return this.forgiving(ENOENT, () => this.rule(RTM_DELRULE, 0, rule));
  }

  /** The kernel answers for an address on a link. */
  putProxy(address: string, device: number): void {
    this.forgiving(EEXIST, () => this.proxy(RTM_NEWNEIGH, NLM_CREATE | NLM_REPLACE, address, device));
  }

  dropProxy(address: string, device: number): void {
    this.forgiving(ENOENT, () => this.proxy(RTM_DELNEIGH, 0, address, device));
  }

  private route(type: number, flags: number, { to, device, table = TABLE_MAIN }: KernelRoute): void {
    const network = parsePrefix(to)!;
    const body = Buffer.alloc(12);
    body[0] = AF[network.family];
    body[1] = network.prefix;
    body[4] = table < 256 ? table : 0;
    body[5] = RTPROT_STATIC;
    body[6] = network.family === 4 ? SCOPE_LINK : 0;
    body[7] = RTN_UNICAST;
    const bytes = network.bytes.subarray(0, network.family === 4 ? 4 : 16);
    this.request(type, NLM_REQUEST | NLM_ACK | flags, body, [
      ...(network.prefix === 0 ? [] : [{ type: RTA_DST, data: bytes }]),
      { type: RTA_OIF, data: u32(device) },
      { type: RTA_TABLE, data: u32(table) },
    ]);
  }

  private rule(type: number, flags: number, rule: KernelRule): void {
    const source = rule.source === undefined ? undefined : raw(rule.source).bytes;
    const body = Buffer.alloc(12);
    body[0] = AF[rule.family];
    body[2] = (source?.length ?? 0) * 8;
    body[4] = rule.table < 256 ? rule.table : 0;
    body[7] = TO_TABLE;
    const attributes: Attribute[] = [
      { type: FRA_PRIORITY, data: u32(rule.priority) },
      { type: FRA_TABLE, data: u32(rule.table) },
    ];
    if (source !== undefined) attributes.push({ type: FRA_SRC, data: source });
    if (rule.from !== undefined) attributes.push({ type: FRA_IIFNAME, data: Buffer.from(`${rule.from}\0`, "latin1") });
    if (rule.protocol !== undefined) attributes.push({ type: FRA_IP_PROTOCOL, data: Uint8Array.of(rule.protocol) });
    if (rule.sourcePort !== undefined) {
      const range = Buffer.alloc(4);
      range.writeUInt16LE(rule.sourcePort, 0);
      range.writeUInt16LE(rule.sourcePort, 2);
      attributes.push({ type: FRA_SOURCE_PORTS, data: range });
    }
    this.request(type, NLM_REQUEST | NLM_ACK | flags, body, attributes);
  }

  private proxy(type: number, flags: number, address: string, device: number): void {
    const { family, bytes } = raw(address);
    const body = Buffer.alloc(12);
    body[0] = AF[family];
    body.writeInt32LE(device, 4);
    body.writeUInt16LE(NUD_PERMANENT, 8);
    body[10] = NTF_PROXY;
    this.request(type, NLM_REQUEST | NLM_ACK | flags, body, [{ type: NDA_DST, data: bytes }]);
  }

  /** False when the request is refused with this errno: what was wanted is so already. */
  private forgiving(errno: number, request: () => void): boolean {
    try {
      request();
      return true;
    } catch (error) {
      if (error instanceof ioctl.SystemError && error.errno === errno) return false;
      throw error;
    }
  }

  /** Sends one request and reads its answer; the body of the message of type `wanted`, if that is what is asked for. */
  private request(
    type: number,
    flags: number,
    body: Buffer,
    attributes: readonly Attribute[],
    wanted?: number,
  ): Buffer | undefined {
    const rest = Buffer.concat([body, encode(attributes)]);
    const { buffer } = this;
    const sequence = ++this.sequence;
    buffer.writeUInt32LE(HEADER + rest.length, 0);
    buffer.writeUInt16LE(type, 4);
    buffer.writeUInt16LE(flags, 6);
    buffer.writeUInt32LE(sequence, 8);
    buffer.writeUInt32LE(0, 12);
    buffer.set(rest, HEADER);
    const at = native.addressOf(buffer);
    if (native.write(this.fd, at, HEADER + rest.length) < 0) throw new ioctl.SystemError("netlink", native.errno());
    for (;;) {
      const length = native.read(this.fd, at, BUFFER_SIZE);
      if (length < 0) {
        if (native.errno() === ioctl.EINTR) continue;
        throw new ioctl.SystemError("netlink", native.errno());
      }
      if (length < HEADER || buffer.readUInt32LE(8) !== sequence) continue;
      const found = buffer.readUInt16LE(4);
      if (found === NLMSG_ERROR) {
        const errno = -buffer.readInt32LE(HEADER);
        if (errno !== 0) throw new ioctl.SystemError(`netlink request ${type}`, errno);
        return undefined;
      }
      if (found === wanted) return Buffer.from(buffer.subarray(HEADER, buffer.readUInt32LE(0)));
      throw new Error(`netlink: a message of type ${found} for request ${type}`);
    }
  }
}
