/** The first writing of the memory: free lists, defaults. */
import { fillAnswers } from "./answer";
import * as Memory from "./layout/memory";
import * as Service from "./layout/service";
import * as Setting from "./layout/setting";
import { initFragments } from "./reassembly";
import { fillBucket } from "./table/bucket";
import { startWheel } from "./table/connection";
import { now, setSetting, setWord, word } from "./table/memory";
import { initSlots } from "./table/slot";

/** RST a second until the setting says otherwise. */
const RESETS: u32 = 20_000;
const MINUTE: u32 = 60 * Memory.TICKS_PER_SECOND;

function defaults(): void {
  // Linux 6.1's.
  setSetting(Setting.AMEMTHRESH, 1024);
  setSetting(Setting.AM_DROPRATE, 10);
  setSetting(Setting.SNAT_REROUTE, 1);
  setSetting(Setting.SYNC_VERSION, 1);
  setSetting(Setting.SYNC_THRESHOLD, 3);
  setSetting(Setting.SYNC_PERIOD, 50);
  setSetting(Setting.SYNC_PORTS, 1);
  setSetting(Setting.PMTU_DISC, 1);
  setSetting(Setting.CONN_REUSE_MODE, 1);
  setSetting(Setting.RUN_ESTIMATION, 1);
  setSetting(Setting.TIMEOUT_TCP, 15 * MINUTE);
  setSetting(Setting.TIMEOUT_TCP_FIN, 2 * MINUTE);
  setSetting(Setting.TIMEOUT_UDP, 5 * MINUTE);
  setSetting(Setting.ICMP_RATE, 1000);
  setSetting(Setting.NEIGHBOUR_QUEUE, 101);
  setSetting(Setting.KERNEL_QUIRKS, 1);
  setSetting(Setting.ANNOUNCE, 1);
  setSetting(Setting.RESET_RATE, RESETS);
}

export function format(): void {
  defaults();
  fillAnswers();
  fillBucket(Memory.LAYOUT_BASE + Memory.RESET_BUCKET, RESETS);
  initSlots();
  initFragments();
  const services = word(Memory.SERVICES_CAPACITY);
  let next: u32 = 0;
  for (let i = services; i > 0; i--) {
    const service = word(Memory.SERVICES_BASE) + (i - 1) * Service.SIZE;
    store<u32>(<usize>service, next, Service.NEXT);
    next = service;
  }
  setWord(Memory.FREE_SERVICE, next);
  setWord(Memory.IP_FORWARD, 1);
  startWheel(now());
  setWord(Memory.NEIGHBOUR_TICK, now());
  setWord(Memory.NEXT_HOUSEKEEPING, now());
  setWord(Memory.ESTIMATOR_NEXT, now() + 2 * Memory.TICKS_PER_SECOND);
}
