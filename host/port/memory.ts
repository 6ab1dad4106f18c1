/** A port made of arrays: what tests and replays put in and take out. */
import * as Port from "../../assembly/layout/port.js";
import * as Slot from "../../assembly/layout/slot.js";
import type { FramePort } from "./port.js";

export interface MemoryPortOptions {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly capabilities?: number;
}

/** A frame that left: the vnet_hdr and the frame proper. */
export interface SentFrame {
  readonly vnet: Uint8Array;
  readonly frame: Uint8Array;
}

export class MemoryPort implements FramePort {
  readonly kind = "memory";
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly capabilities: number;
  /** How many of the next frames to refuse, as a full device would. */
  refuse = 0;
  private readonly incoming: Uint8Array[] = [];
  private outgoing: SentFrame[] = [];

  constructor(options: MemoryPortOptions) {
    this.name = options.name;
    this.mac = options.mac ?? "02:00:00:00:00:01";
    this.mtu = options.mtu ?? 1500;
    this.capabilities = options.capabilities ?? Port.CAPABILITY_LINK;
  }

  /** Puts a frame where the director will read it; without a vnet_hdr it is a plain one. */
  put(frame: Uint8Array, vnet?: Uint8Array): void {
    const whole = new Uint8Array(Slot.VNET_SIZE + frame.length);
    if (vnet !== undefined) whole.set(vnet.subarray(0, Slot.VNET_SIZE));
    whole.set(frame, Slot.VNET_SIZE);
    this.incoming.push(whole);
  }

  /** What the director sent since the last call. */
  take(): SentFrame[] {
    const sent = this.outgoing;
    this.outgoing = [];
    return sent;
  }

  receive(target: Uint8Array): number {
    const next = this.incoming.shift();
    if (next === undefined) return 0;
    const length = Math.min(next.length, target.length);
    target.set(next.subarray(0, length));
    return length;
  }

  send(pieces: readonly Uint8Array[]): boolean {
    if (this.refuse > 0) {
      this.refuse--;
      return false;
    }
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const whole = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    this.outgoing.push({ vnet: whole.subarray(0, Slot.VNET_SIZE), frame: whole.subarray(Slot.VNET_SIZE) });
    return true;
  }

  close(): void {
    this.incoming.length = 0;
    this.outgoing = [];
  }
}
