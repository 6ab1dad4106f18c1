/** Which addresses are the director's. */
import * as Address from "../layout/address";
import { findAddress4, findAddress6 } from "./address";

/** An IPv4 address (raw) that the core answers for as a host: own or virtual, not a broadcast address. */
export function isOurs4(addressBe: u32): bool {
  const record = findAddress4(addressBe);
  return record !== 0 && (load<u8>(record, Address.FLAGS) & Address.FLAG_BROADCAST) === 0;
}

export function isOurs6(address: usize): bool {
  return findAddress6(address) !== 0;
}

export function isOurs(family: u32, address: usize): bool {
  return family === 4 ? isOurs4(load<u32>(address)) : isOurs6(address);
}
