/** A control connection of FTP through the director, by NAT: what both ends say, and what comes out on the other side. */
import * as Port from "../../../assembly/layout/port.js";
import type { Emitted, MemoryEngine } from "../../../host/engine/memory-engine.js";
import type { ConnectionInfo, SynProxy } from "../../../host/ipvs/model.js";
import { ALL_OFFLOADS } from "../../../host/port/port.js";
import { describe as decode } from "../../conformance/frames.js";
import { createDirector, NET, server, service } from "../../support/director.js";
import { ethernet, FLAG, type TcpOptions, tcpPacket } from "../../support/packets.js";

export interface Side {
  readonly client: string;
  readonly vip: string;
  readonly real: string;
}

export const V4: Side = { client: NET.client.ip, vip: NET.vip, real: NET.servers[0].ip };
export const V6: Side = { client: "2001:db8:4::20", vip: "2001:db8:4::100", real: "2001:db8:2::11" };

/** What came out: TCP fields, and the text. */
export interface Heard {
  readonly line: string;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly options: Uint8Array;
  readonly text: string;
  readonly vnet: Uint8Array;
  readonly frame: Uint8Array;
}

export const PORT = 40000;
const OFFLOADS = { capabilities: Port.CAPABILITY_LINK | ALL_OFFLOADS };

/** Text as bytes, one a character. */
export function bytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "latin1"));
}

export class Session {
  readonly director: MemoryEngine;
  readonly side: Side;
  /** Next sequence numbers: the client's, the server's, and the server's as the client knows it. */
  client = 1000;
  server = 5000;
  seen = 5000;

  constructor(side: Side = V4, real = side.real, vip = side.vip) {
    this.side = { ...side, real, vip };
    this.director = createDirector({
      interfaces: [
        { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`, "2001:db8:4::133/64"], ...OFFLOADS },
        { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`, "2001:db8:2::130/64"], ...OFFLOADS },
      ],
      neighbours: [
        { ip: side.client, mac: NET.client.mac, dev: "ext" },
        { ip: real, mac: NET.servers[0].mac, dev: "int" },
      ],
    });
  }

  async open(port = 21, synProxy: SynProxy = "default"): Promise<this> {
    const { vip, real } = this.side;
    const id = vip.includes(":")
      ? ({ family: 6, protocol: "tcp", address: vip, port: 21 } as const)
      : ({ family: 4, protocol: "tcp", address: vip, port: 21 } as const);
    await this.director.ipvs.addService(
      service(21, "rr", "tcp", { id, persistencePrefix: id.family === 6 ? 128 : 32, synProxy }),
    );
    await this.director.ipvs.addServer(id, server(real, port));
    this.director.breathe();
    this.director.collect();
    const answered = this.fromClient({ flags: FLAG.syn, sequence: this.client++ });
    if (synProxy === "on") {
      this.seen = answered!.sequence;
      this.fromClient({ flags: FLAG.ack, sequence: this.client, acknowledgement: this.seen + 1 });
    }
    this.fromServer({ flags: FLAG.syn | FLAG.ack, sequence: this.server++, acknowledgement: this.client }, PORT, port);
    this.seen++;
    this.acknowledge();
    return this;
  }

  fromClient(options: TcpOptions, sourcePort = PORT, destinationPort = 21, vnet?: Uint8Array): Heard | undefined {
    const ends = { source: this.side.client, destination: this.side.vip, sourcePort, destinationPort };
    return this.pass("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends, options)), vnet);
  }

  fromServer(options: TcpOptions, destinationPort = PORT, sourcePort = 21, vnet?: Uint8Array): Heard | undefined {
    const ends = { source: this.side.real, destination: this.side.client, sourcePort, destinationPort };
    return this.pass("int", ethernet(NET.int.mac, NET.servers[0].mac, tcpPacket(ends, options)), vnet);
  }

  pass(dev: string, frame: Uint8Array, vnet?: Uint8Array): Heard | undefined {
    this.director.inject(dev, frame, vnet);
    const [out] = this.director.collect();
    return out === undefined ? undefined : heard(out);
  }

  /** The client says something. */
  say(text: string): Heard | undefined {
    const data = bytes(text);
    const options = { flags: FLAG.psh | FLAG.ack, sequence: this.client, acknowledgement: this.seen, data };
    this.client += data.length;
    return this.fromClient(options);
  }

  /** The server says something; how much longer or shorter it comes out is kept in mind. */
  answer(text: string): Heard | undefined {
    const data = bytes(text);
    const sequence = this.server;
    const out = this.fromServer({ flags: FLAG.psh | FLAG.ack, sequence, acknowledgement: this.client, data });
    this.server += data.length;
    this.seen += out?.text.length ?? 0;
    return out;
  }

  acknowledge(options: Uint8Array = new Uint8Array()): Heard | undefined {
    return this.fromClient({ flags: FLAG.ack, sequence: this.client, acknowledgement: this.seen, options });
  }

  connections(): ConnectionInfo[] {
    return [...this.director.ipvs.tables.connections(this.director.clock.ticks())];
  }

  /** Connections but for the control connection, as `client:port virtual:port server:port STATE`. */
  data(): string[] {
    return this.connections()
      .filter((each) => each.virtualPort !== 21)
      .map(
        (each) =>
          `${each.client} ${each.clientPort} ${each.virtual} ${each.virtualPort} ${each.server} ${each.serverPort} ${each.state}`,
      )
      .sort();
  }
}

function heard(out: Emitted): Heard {
  const { frame } = out;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const tcp = view.getUint16(12) === 0x86dd ? 54 : 14 + (frame[14]! & 15) * 4;
  const header = (frame[tcp + 12]! >> 4) * 4;
  return {
    line: decode(frame),
    sequence: view.getUint32(tcp + 4),
    acknowledgement: view.getUint32(tcp + 8),
    options: frame.slice(tcp + 20, tcp + header),
    text: Buffer.from(frame.subarray(tcp + header)).toString("latin1"),
    vnet: out.vnet.slice(),
    frame,
  };
}

/** The 227 line of a server at an address and port. */
export function passive(address: string, port: number): string {
  return `227 Entering Passive Mode (${address.replaceAll(".", ",")},${port >> 8},${port & 255}).\r\n`;
}
