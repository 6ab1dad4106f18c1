/** Which addresses are the director's. */
import * as Address from "../layout/address";
import { findAddress4, findAddress6 } from "./address";
import { isLocal4, isLocal6 } from "./route";

/**
 * An IPv4 address (raw) that the core answers for as a host: own, virtual or of a local route, not a
 * broadcast address.
 */
export function isOurs4(addressBe: u32): bool {
  const record = findAddress4(addressBe);
  if (record !== 0) return (load<u8>(record, Address.FLAGS) & Address.FLAG_BROADCAST) === 0;
  return isLocal4(addressBe, 0);
}

export function isOurs6(address: usize): bool {
  return findAddress6(address) !== 0 || isLocal6(address, 0);
}

export function isOurs(family: u32, address: usize): bool {
  return family === 4 ? isOurs4(load<u32>(address)) : isOurs6(address);
}
