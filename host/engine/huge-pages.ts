/** The tables in huge pages, where the kernel has them: the processor knows the addresses of few small ones at a time. */
import * as Connection from "../../assembly/layout/connection.js";
import * as ConnectionIndex from "../../assembly/layout/connection-index.js";
import * as Memory from "../../assembly/layout/memory.js";
import type { MemoryPlan } from "../core/memory.js";
import { EAGAIN, EBUSY, ENOMEM } from "../port/ioctl.js";
import * as native from "../port/native.js";

const PIECE = 2 << 20;
const SMALL_PAGE = 4096;
const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;
const MADV_COLLAPSE = 25;
/** Of so many connections a small page of the index, hardly one is untouched. */
const PER_INDEX_PAGE = 4;
/** Where the kernel has no huge page to give, it is asked again after so many turns without one. */
const PATIENCE = 64;

interface Region {
  /** Addresses in the process: where it begins, and up to where its pieces have had their turn. */
  readonly from: number;
  next: number;
  /** Bytes from its beginning that are in use. */
  used(): number;
}

/**
 * All but connections: what every packet needs, rings, which some kernels want in one piece, and frames, which are 68 KiB
 * apart.
 */
export function adviseHugePages(memory: WebAssembly.Memory, plan: MemoryPlan): void {
  const base = native.addressOf(new Uint8Array(memory.buffer));
  const begin = (name: string) => plan.regions.find((region) => region.name === name)!.base;
  for (const [from, to] of [
    [0, begin("connections")],
    [begin("arena"), plan.total],
  ] as const) {
    const first = Math.ceil((base + from) / SMALL_PAGE) * SMALL_PAGE;
    native.madvise(first, base + to - first, MADV_HUGEPAGE);
  }
}

/**
 * Connections: in a table of millions nearly every packet's record and line of the index lie in a page that the processor
 * does not know, and walking the page tables costs as much as the rest of the packet. Pieces that are in use are collapsed
 * (Linux 6.1), one at a time and never by a worker: memory is taken as it was, as connections come, and no page fault of a
 * worker has to find 2 MiB. A worker that needs a piece while it is moved waits for that.
 */
export class HugePages {
  /** Pieces that are huge pages. */
  collapsed = 0;
  private readonly regions: readonly Region[];
  private readonly collapse: (address: number) => number;
  private off = false;
  private skip = 0;

  /** `collapse` takes a piece's address in the process and returns 0 or an errno. */
  constructor(memory: WebAssembly.Memory, collapse = collapser()) {
    this.collapse = collapse;
    const words = new Uint32Array(memory.buffer);
    const process = native.addressOf(new Uint8Array(memory.buffer));
    const header = (at: number) => Atomics.load(words, (Memory.LAYOUT_BASE + at) >>> 2);
    const region = (base: number, used: () => number): Region => {
      const from = process + header(base);
      return { from, next: Math.ceil(from / PIECE) * PIECE, used };
    };
    const high = () => header(Memory.CONNECTION_HIGH);
    const index = header(Memory.INDEX_CAPACITY) * ConnectionIndex.SIZE;
    this.regions = [
      region(Memory.INDEX_BASE, () => (high() >= (index / SMALL_PAGE) * PER_INDEX_PAGE ? index : 0)),
      region(Memory.CONNECTIONS_BASE, () => high() * Connection.SIZE),
      region(Memory.COLD_BASE, () => high() * Connection.COLD_SIZE),
      region(Memory.EXTENSIONS_BASE, () => header(Memory.EXTENSION_HIGH) * Connection.EXTENSION_SIZE),
    ];
  }

  /** One piece's turn, of those in use that have not had theirs. False: there is none, for now. */
  turn(): boolean {
    if (this.off) return false;
    const region = this.regions.find(({ from, next, used }) => next + PIECE <= from + used());
    if (region === undefined) return false;
    if (this.skip > 0) {
      this.skip--;
      return false;
    }
    const errno = this.collapse(region.next);
    if (errno === EAGAIN || errno === ENOMEM) {
      this.skip = PATIENCE;
      return false;
    }
    // Anything else but a piece that is just in other hands: this kernel has no such call, or no huge pages.
    if (errno !== 0 && errno !== EBUSY) {
      this.off = true;
      return false;
    }
    if (errno === 0) this.collapsed++;
    region.next += PIECE;
    return true;
  }
}

/**
 * The kernel moves a piece into a page that is free, and whoever needs the piece waits meanwhile: under a hypervisor that
 * has to find memory for it first, for 7 ms where it is else 1. So one is taken and given back just before: the page that
 * was freed last is the next one to be given.
 */
function collapser(): (address: number) => number {
  const scratch = new Uint8Array(new ArrayBuffer(2 * PIECE));
  const begin = native.addressOf(scratch);
  const piece = Math.ceil(begin / PIECE) * PIECE;
  native.madvise(piece, PIECE, MADV_HUGEPAGE);
  return (address) => {
    scratch[piece - begin] = 1;
    native.madvise(piece, PIECE, MADV_DONTNEED);
    return native.madvise(address, PIECE, MADV_COLLAPSE) === 0 ? 0 : native.errno();
  };
}
