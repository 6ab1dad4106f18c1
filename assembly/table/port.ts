/** Ports: the interfaces that the host owns. */
import * as Memory from "../layout/memory";
import * as Port from "../layout/port";
import * as Slot from "../layout/slot";
import * as Vnet from "../wire/virtionet";
import { countAt, word } from "./memory";

/** The port with the host's number, or 0. */
export function findPort(number: u32): usize {
  const base = <usize>word(Memory.PORTS_BASE);
  const end = base + <usize>word(Memory.PORTS_CAPACITY) * Port.SIZE;
  for (let port = base; port < end; port += Port.SIZE) {
    if (load<u8>(port, Port.STATE) !== 0 && load<u32>(port, Port.NUMBER) === number) return port;
  }
  return 0;
}

/** Counts the frame of `slot` for the port that it came in by. Returns its bytes, without vnet_hdr. */
export function countReceived(slot: usize): u32 {
  const port = <usize>load<u32>(slot, Slot.PORT_IN);
  const length = load<u32>(slot, Slot.LENGTH);
  countAt(port + Port.FRAMES_IN, 1);
  if (length <= <u32>Vnet.SIZE) return 0;
  countAt(port + Port.BYTES_IN, <u64>(length - Vnet.SIZE));
  return length - Vnet.SIZE;
}

export function isLink(port: usize): bool {
  return (load<u8>(port, Port.CAPABILITIES) & Port.CAPABILITY_LINK) !== 0;
}
