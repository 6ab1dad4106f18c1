/** A port: an interface that the host owns. Frames begin with a vnet_hdr of 12 bytes, whatever the kind. */
import * as Port from "../../assembly/layout/port.js";

export const PORT_KINDS = ["tap", "tun", "pcap", "memory"] as const;
export type PortKind = (typeof PORT_KINDS)[number];

export interface PortInfo {
  readonly name: string;
  readonly kind: PortKind;
  /** Of the director's end; all zero for a port without a link layer. */
  readonly mac: string;
  readonly mtu: number;
  /** layout/port CAPABILITY_*. */
  readonly capabilities: number;
}

/** A port that is read and written frame by frame, into and out of the core's slots. */
export interface FramePort extends PortInfo {
  /** Reads the next frame into `target`; its length, 0 when none is there. */
  receive(target: Uint8Array): number;
  /** Sends a frame given in pieces (header, body); false when the port took nothing. */
  send(pieces: readonly Uint8Array[]): boolean;
  close(): void;
}

/** Everything that a kernel device could take over: checksums and segmentation left to the receiver. */
export const ALL_OFFLOADS =
  Port.CAPABILITY_CHECKSUM | Port.CAPABILITY_TSO4 | Port.CAPABILITY_TSO6 | Port.CAPABILITY_USO;
