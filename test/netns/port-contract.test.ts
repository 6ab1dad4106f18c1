/** What every kind of port promises the director, whatever is behind it. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as Port from "../../assembly/layout/port.js";
import * as Slot from "../../assembly/layout/slot.js";
import { closeDevice, type Device } from "../../host/port/device.js";
import { MemoryPort } from "../../host/port/memory.js";
import * as native from "../../host/port/native.js";
import { type CapturedFrame, PcapPort, pcapng, readCapture } from "../../host/port/pcap.js";
import { PORT_KINDS, type PortInfo } from "../../host/port/port.js";
import { openTap } from "../../host/port/tap.js";
import { openTun } from "../../host/port/tun.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { ethernet, ip4, PROTOCOL, udpPacket } from "../support/packets.js";
import { Capture, emit } from "./farm.js";
import { ip, Network } from "./network.js";

/** A port and the world at its other end. */
interface Subject {
  readonly info: PortInfo;
  receive(target: Uint8Array): number;
  send(...pieces: Uint8Array[]): boolean;
  /** The world sends a frame. */
  put(frame: Uint8Array): Promise<void>;
  /** What the world has got that has this word in it. */
  got(word: string): Promise<number>;
  close(): void;
}

const MAC = "02:00:00:00:00:01";
const FAR = "02:00:00:00:00:02";
const packet = (data: string) =>
  udpPacket(
    { source: "10.99.0.1", destination: "10.99.0.2", sourcePort: 1, destinationPort: 9 },
    new TextEncoder().encode(data),
  );

function memory(): Subject {
  const port = new MemoryPort({ name: "m0", mac: MAC });
  return {
    info: port,
    receive: (target) => port.receive(target),
    send: (...pieces) => port.send(pieces),
    put: async (frame) => port.put(frame),
    got: async (word) => port.take().filter(({ frame }) => Buffer.from(frame).includes(word)).length,
    close: () => port.close(),
  };
}

/** A file behind it: what the world sends is what a capture has, what it gets is what was written. */
function pcap(): Subject {
  const frames: CapturedFrame[] = [];
  const written: Uint8Array[] = [];
  const head = [pcapng.section("test"), pcapng.interface({ name: "p0", link: "ethernet", snap: 0 })];
  const port = new PcapPort({
    name: "p0",
    mac: MAC,
    mtu: 1500,
    capabilities: Port.CAPABILITY_LINK,
    frames,
    out: { interface: 0, write: (bytes) => written.push(bytes), now: () => 0n },
  });
  return {
    info: port,
    receive: (target) => port.receive(target),
    send: (...pieces) => port.send(pieces),
    put: async (frame) => {
      const file = pcapng.packet({ interface: 0, time: 0n, frame, length: frame.length, comments: [] });
      frames.push(...readCapture(Buffer.concat([...head, file]), "in").frames);
      port.admit();
    },
    got: async (word) =>
      readCapture(Buffer.concat([...head, ...written]), "out").frames.filter(({ frame }) =>
        Buffer.from(frame).includes(word),
      ).length,
    close: () => port.close(),
  };
}

/** Reads and writes as the transports do, on memory whose address stays. */
async function device(network: Network, kind: "tap" | "tun"): Promise<Subject> {
  const netns = network.namespace(kind);
  const open: Device =
    kind === "tap" ? openTap({ name: "p0", queues: 1, netns, mac: MAC }) : openTun({ name: "p0", queues: 1, netns });
  ip("-n", netns, "addr", "add", "10.99.0.2/24", "dev", "p0");
  const [fd] = open.queues;
  const buffer = new Uint8Array(new ArrayBuffer(Slot.FRAME_MAX));
  const at = native.addressOf(buffer);
  let capture: Capture | undefined = await Capture.start(network, netns, "p0", "-A", "udp");
  return {
    info: { ...open, mac: kind === "tap" ? MAC : "00:00:00:00:00:00" },
    receive: (target) => {
      const length = native.read(fd!, at, buffer.length);
      if (length <= 0) return 0;
      target.set(buffer.subarray(0, length));
      return length;
    },
    send: (...pieces) => {
      const whole = Buffer.concat(pieces);
      buffer.set(whole);
      return native.write(fd!, at, whole.length) === whole.length;
    },
    put: (frame) => emit(netns, "p0", frame),
    got: async (word) => {
      const text = await capture!.stop();
      capture = undefined;
      return text.split(word).length - 1;
    },
    close: () => closeDevice(open),
  };
}

describe.each(["memory", "pcap", "tap", "tun"] as const)("a port of kind %s", (kind) => {
  let network: Network | undefined;
  let port: Subject;

  beforeEach(async (context) => {
    if (kind === "tap" || kind === "tun") {
      needsDevices(context);
      needsCommands(context, "tcpdump");
      network = new Network();
    }
    port = kind === "memory" ? memory() : kind === "pcap" ? pcap() : await device(network!, kind);
  });

  afterEach(() => {
    port?.close();
    network?.close();
    network = undefined;
  });

  const frame = (data: string, far = true) =>
    kind === "tun"
      ? packet(data)
      : far
        ? ethernet(MAC, FAR, packet(data))
        : ethernet("ff:ff:ff:ff:ff:ff", MAC, packet(data));

  /** Frames of the world until one has the word; the kernel's own (neighbour discovery) are passed over. */
  async function next(word: string): Promise<Uint8Array | undefined> {
    const target = new Uint8Array(Slot.FRAME_MAX);
    for (let tries = 0; tries < 200; tries++) {
      const length = port.receive(target);
      if (length > 0 && Buffer.from(target.subarray(0, length)).includes(word)) return target.slice(0, length);
      if (length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return undefined;
  }

  it("says what it is", () => {
    expect(PORT_KINDS).toContain(port.info.kind);
    expect(port.info.kind).toBe(kind);
    expect(port.info.mtu).toBe(1500);
    const isLink = (port.info.capabilities & Port.CAPABILITY_LINK) !== 0;
    expect(isLink).toBe(kind !== "tun");
    expect(port.info.mac === "00:00:00:00:00:00").toBe(!isLink);
  });

  it("reads one frame at a time, whole, in order, behind a vnet_hdr; 0 when there is none", async () => {
    for (const word of ["one-frame", "another"]) await port.put(frame(word));
    for (const word of ["one-frame", "another"]) {
      const read = await next(word);
      expect(Buffer.from(read!.subarray(Slot.VNET_SIZE)).toString("hex")).toBe(
        Buffer.from(frame(word)).toString("hex"),
      );
      expect(read!.length).toBe(Slot.VNET_SIZE + frame(word).length);
      expect([...read!.subarray(0, 2)]).toEqual([0, 0]);
    }
    const target = new Uint8Array(Slot.FRAME_MAX);
    for (let tries = 0; tries < 50 && port.receive(target) > 0; tries++);
    expect(port.receive(target)).toBe(0);
  });

  it("sends a frame that is given in pieces, as one", async () => {
    const whole = frame("in-pieces", false);
    expect(port.send(new Uint8Array(Slot.VNET_SIZE), whole.subarray(0, 20), whole.subarray(20))).toBe(true);
    expect(await port.got("in-pieces")).toBe(1);
  });

  it("takes the largest frame of its MTU", async () => {
    const large = ip4("10.99.0.1", "10.99.0.2", PROTOCOL.udp, new Uint8Array(1480).fill(0x61));
    await port.put(kind === "tun" ? large : ethernet(MAC, FAR, large));
    const read = await next("a".repeat(1480));
    expect(read!.length).toBe(Slot.VNET_SIZE + large.length + (kind === "tun" ? 0 : 14));
  });
});
