/** Ports: the interfaces that the host owns. */
import * as Memory from "../layout/memory";
import * as Port from "../layout/port";
import { word } from "./memory";

/** The port with the host's number, or 0. */
export function findPort(number: u32): usize {
  const base = <usize>word(Memory.PORTS_BASE);
  const end = base + <usize>word(Memory.PORTS_CAPACITY) * Port.SIZE;
  for (let port = base; port < end; port += Port.SIZE) {
    if (load<u8>(port, Port.STATE) !== 0 && load<u32>(port, Port.NUMBER) === number) return port;
  }
  return 0;
}

export function isLink(port: usize): bool {
  return (load<u8>(port, Port.CAPABILITIES) & Port.CAPABILITY_LINK) !== 0;
}
