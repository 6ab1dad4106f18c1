/** Checks of what came in. */
import * as Protocol from "./layout/protocol";
import * as Slot from "./layout/slot";
import { fold, pseudo4, pseudo6, sum } from "./wire/checksum";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import * as Vnet from "./wire/virtionet";

/** Whether the transport checksum is right, or the device vouches for it. */
export function transportChecksumIsRight(slot: usize): bool {
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  if ((load<u8>(vnet, Vnet.FLAGS) & (Vnet.NEEDS_CHECKSUM | Vnet.DATA_VALID)) !== 0) return true;
  const ip = <usize>load<u32>(slot, Slot.IP);
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  const length = load<u32>(slot, Slot.END) - <u32>transport;
  const protocol = <u32>load<u8>(slot, Slot.PROTOCOL);
  const four = load<u8>(slot, Slot.FAMILY) === 4;
  let pseudo: u64 = 0;
  if (four) {
    if (protocol !== Protocol.ICMP)
      pseudo = pseudo4(load<u32>(ip, Ipv4.SOURCE), load<u32>(ip, Ipv4.DESTINATION), protocol, length);
  } else {
    pseudo = pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, protocol, length);
  }
  return fold(sum(transport, length) + pseudo) === 0xffff;
}
