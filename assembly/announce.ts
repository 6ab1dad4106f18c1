/**
 * Gratuitous ARP and unsolicited advertisements: the links are told of new addresses, so that nobody goes on sending to
 * the MAC that had them before. A control call only notes it: frames are sent by a worker in its breath.
 */
import * as Address from "./layout/address";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Setting from "./layout/setting";
import { scratch, sendArp, sendNdp } from "./link";
import { now, reached, setting, setWord, word } from "./table/memory";
import { isLink } from "./table/port";
import * as Arp from "./wire/arp";
import * as Icmp from "./wire/icmp";

/** A frame may get lost: said this often, a second apart. */
const TIMES: u8 = 3;
/** What one breath sends at the most. */
const BUDGET: u32 = 64;

/** The link of an address will be told of it, from the next breath on. */
export function announceRecord(record: usize): void {
  if (setting(Setting.ANNOUNCE) === 0) return;
  store<u8>(record, TIMES, Address.ANNOUNCE);
  setWord(Memory.ANNOUNCING, 1);
  setWord(Memory.ANNOUNCE_AT, now());
}

function announce(port: usize, family: u32, address: usize): void {
  if (family === 4) {
    sendArp(port, Arp.REQUEST, load<u32>(address), 0, 0, load<u32>(address), 0);
    return;
  }
  const all = scratch();
  store<u64>(all, 0x02ff);
  store<u64>(all, 0x0100000000000000, 8);
  sendNdp(port, Icmp.V6_NEIGHBOUR_ADVERTISEMENT, 0x20, address, all, address, 0, 0);
}

/** Sends what is due. */
export function tickAnnouncements(): void {
  if (word(Memory.ANNOUNCING) === 0 || !reached(now(), word(Memory.ANNOUNCE_AT))) return;
  const base = <usize>word(Memory.ADDRESSES_BASE);
  const capacity = word(Memory.ADDRESSES_CAPACITY);
  let sent: u32 = 0;
  let left = false;
  for (let i: u32 = 0; i < capacity; i++) {
    const record = base + <usize>i * Address.SIZE;
    const times = load<u8>(record, Address.ANNOUNCE);
    if (times === 0) continue;
    const family = <u32>load<u8>(record, Address.FAMILY);
    const port = <usize>load<u32>(record, Address.PORT);
    const speaks = (load<u8>(record, Address.FLAGS) & (Address.FLAG_OWN | Address.FLAG_VIRTUAL)) !== 0;
    if ((family !== 4 && family !== 6) || !speaks || port === 0 || !isLink(port)) {
      store<u8>(record, 0, Address.ANNOUNCE);
      continue;
    }
    if (sent === BUDGET) {
      // The rest with the next breath.
      setWord(Memory.ANNOUNCE_AT, now());
      return;
    }
    left = true;
    if (load<u8>(port, Port.UP) === 0) continue;
    announce(port, family, record + Address.ADDRESS);
    store<u8>(record, times - 1, Address.ANNOUNCE);
    sent++;
  }
  setWord(Memory.ANNOUNCING, left ? 1 : 0);
  setWord(Memory.ANNOUNCE_AT, now() + Memory.TICKS_PER_SECOND);
}
