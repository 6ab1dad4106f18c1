// @ts-nocheck: AssemblyScript
// What the packet tests see of the core: compiled by asc beside the real entry, never part of it.

export { encapsulate, tunnelOverhead, tunnelOverheadOf } from "../../assembly/forwarding/tunnel";
export { fragment4, fragment6, needsFragments } from "../../assembly/fragmentation";
export { isSpare, timeout, transition } from "../../assembly/protocol/sctp";
export { initFragments, nextExpiredFragment, reassemble } from "../../assembly/reassembly";
export { segment } from "../../assembly/segmentation";
export {
  freeSlots,
  gather,
  giveChain,
  giveSlot,
  initSlots,
  resetSlot,
  takePiece,
  takeSlot,
} from "../../assembly/table/slot";
export { completeChecksum } from "../../assembly/wire/offload";
export { crc32c, isChecksumRight } from "../../assembly/wire/sctp";
