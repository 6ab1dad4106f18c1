/** The settings of the core by the names that sysctl knows them by, with the values that they start from. */
import { TICKS_PER_SECOND } from "../../assembly/layout/memory.js";
import * as Setting from "../../assembly/layout/setting.js";

interface SettingInfo {
  /** Two ids: the setting is two numbers, as `sync_threshold` is. */
  readonly ids: readonly [number, ...number[]];
  readonly defaults: readonly [number, ...number[]];
  readonly largest?: number;
}

/** As Linux 6.1 starts. */
const SETTINGS: Readonly<Record<string, SettingInfo>> = {
  amemthresh: { ids: [Setting.AMEMTHRESH], defaults: [1024] },
  am_droprate: { ids: [Setting.AM_DROPRATE], defaults: [10] },
  drop_entry: { ids: [Setting.DROP_ENTRY], defaults: [0], largest: 3 },
  drop_packet: { ids: [Setting.DROP_PACKET], defaults: [0], largest: 3 },
  conntrack: { ids: [Setting.CONNTRACK], defaults: [0] },
  secure_tcp: { ids: [Setting.SECURE_TCP], defaults: [0], largest: 3 },
  snat_reroute: { ids: [Setting.SNAT_REROUTE], defaults: [1] },
  sync_version: { ids: [Setting.SYNC_VERSION], defaults: [1], largest: 1 },
  cache_bypass: { ids: [Setting.CACHE_BYPASS], defaults: [0] },
  expire_nodest_conn: { ids: [Setting.EXPIRE_NODEST_CONN], defaults: [0] },
  sloppy_tcp: { ids: [Setting.SLOPPY_TCP], defaults: [0] },
  sloppy_sctp: { ids: [Setting.SLOPPY_SCTP], defaults: [0] },
  expire_quiescent_template: { ids: [Setting.EXPIRE_QUIESCENT_TEMPLATE], defaults: [0] },
  sync_threshold: { ids: [Setting.SYNC_THRESHOLD, Setting.SYNC_PERIOD], defaults: [3, 50] },
  sync_refresh_period: { ids: [Setting.SYNC_REFRESH_PERIOD], defaults: [0] },
  sync_retries: { ids: [Setting.SYNC_RETRIES], defaults: [0], largest: 3 },
  sync_ports: { ids: [Setting.SYNC_PORTS], defaults: [1], largest: 64 },
  sync_qlen_max: { ids: [Setting.SYNC_QLEN_MAX], defaults: [16384] },
  sync_sock_size: { ids: [Setting.SYNC_SOCK_SIZE], defaults: [0] },
  nat_icmp_send: { ids: [Setting.NAT_ICMP_SEND], defaults: [0] },
  pmtu_disc: { ids: [Setting.PMTU_DISC], defaults: [1] },
  backup_only: { ids: [Setting.BACKUP_ONLY], defaults: [0] },
  conn_reuse_mode: { ids: [Setting.CONN_REUSE_MODE], defaults: [1] },
  schedule_icmp: { ids: [Setting.SCHEDULE_ICMP], defaults: [0] },
  ignore_tunneled: { ids: [Setting.IGNORE_TUNNELED], defaults: [0] },
  run_estimation: { ids: [Setting.RUN_ESTIMATION], defaults: [1] },
  reschedule: { ids: [Setting.RESCHEDULE], defaults: [0], largest: 1 },
  mss_clamp: { ids: [Setting.MSS_CLAMP], defaults: [0], largest: 1 },
  forward_shared: { ids: [Setting.FORWARD_SHARED], defaults: [0], largest: 1 },
  toa: { ids: [Setting.TOA], defaults: [0], largest: 1 },
  drain_seconds: { ids: [Setting.DRAIN_SECONDS], defaults: [0] },
  icmp_rate: { ids: [Setting.ICMP_RATE], defaults: [1000] },
  reset_rate: { ids: [Setting.RESET_RATE], defaults: [20_000], largest: 10_000_000 },
  neighbour_queue: { ids: [Setting.NEIGHBOUR_QUEUE], defaults: [101], largest: 255 },
  announce: { ids: [Setting.ANNOUNCE], defaults: [1], largest: 1 },
  syn_proxy: { ids: [Setting.SYN_PROXY], defaults: [0], largest: 2 },
  syn_proxy_threshold: { ids: [Setting.SYN_PROXY_THRESHOLD], defaults: [1024] },
  udp_unanswered: { ids: [Setting.UDP_UNANSWERED], defaults: [0], largest: 2_147_483 },
  limit_answer: { ids: [Setting.LIMIT_ANSWER], defaults: [1], largest: 1 },
  kernel_quirks: { ids: [Setting.KERNEL_QUIRKS], defaults: [1], largest: 1 },
};

const PREFIX = "net.ipv4.vs.";
/** Names that only wlvs knows. */
export const OWN_SETTINGS: readonly string[] = [
  "reschedule",
  "mss_clamp",
  "forward_shared",
  "toa",
  "drain_seconds",
  "icmp_rate",
  "reset_rate",
  "neighbour_queue",
  "announce",
  "syn_proxy",
  "syn_proxy_threshold",
  "udp_unanswered",
  "limit_answer",
  "kernel_quirks",
];
export const SETTING_NAMES: readonly string[] = Object.keys(SETTINGS);

/** Seconds that connections start with: ipvsadm --set. */
export const DEFAULT_TIMEOUTS = { tcp: 900, tcpFin: 120, udp: 300 } as const;

/** [id, value] of every setting and timeout, as the core starts. */
export const SETTING_DEFAULTS: ReadonlyArray<readonly [number, number]> = [
  ...Object.values(SETTINGS).flatMap(({ ids, defaults }) => ids.map((id, n) => [id, defaults[n] ?? 0] as const)),
  [Setting.TIMEOUT_TCP, DEFAULT_TIMEOUTS.tcp * TICKS_PER_SECOND],
  [Setting.TIMEOUT_TCP_FIN, DEFAULT_TIMEOUTS.tcpFin * TICKS_PER_SECOND],
  [Setting.TIMEOUT_UDP, DEFAULT_TIMEOUTS.udp * TICKS_PER_SECOND],
];

/** `net.ipv4.vs.sloppy_tcp`, `net/ipv4/vs/sloppy_tcp` or `sloppy_tcp`; undefined when there is no such setting. */
export function settingName(name: string): string | undefined {
  const dotted = name.replaceAll("/", ".");
  const short = dotted.startsWith(PREFIX) ? dotted.slice(PREFIX.length) : dotted;
  return Object.hasOwn(SETTINGS, short) ? short : undefined;
}

export function settingIds(name: string): readonly number[] {
  const short = settingName(name);
  return short === undefined ? [] : SETTINGS[short]!.ids;
}

/** The [id, value] pairs that `name = text` means. Throws a RangeError that says what is wrong. */
export function parseSetting(name: string, text: string): Array<readonly [number, number]> {
  const short = settingName(name);
  if (short === undefined) throw new RangeError(`unknown setting ${name}`);
  const { ids, largest } = SETTINGS[short]!;
  const words = text.trim().split(/[\s,]+/);
  if (words.length > ids.length) throw new RangeError(`${short} takes ${ids.length} number(s): ${text}`);
  return words.map((word, at) => {
    const value = /^\d{1,10}$/.test(word) ? Number(word) : Number.NaN;
    if (!(value <= (largest ?? 0x7fffffff))) {
      throw new RangeError(`${short} takes numbers from 0 to ${largest ?? 0x7fffffff}: ${text}`);
    }
    return [ids[at]!, value] as const;
  });
}
