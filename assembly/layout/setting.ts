/** Settings of the core: u32 words at memory.SETTINGS + 4 * id. Names are those of net.ipv4.vs.*, lower-cased keys. */
export const AMEMTHRESH = 0;
export const AM_DROPRATE = 1;
export const DROP_ENTRY = 2;
export const DROP_PACKET = 3;
export const CONNTRACK = 4;
export const SECURE_TCP = 5;
export const SNAT_REROUTE = 6;
export const SYNC_VERSION = 7;
export const CACHE_BYPASS = 8;
export const EXPIRE_NODEST_CONN = 9;
export const SLOPPY_TCP = 10;
export const SLOPPY_SCTP = 11;
export const EXPIRE_QUIESCENT_TEMPLATE = 12;
export const SYNC_THRESHOLD = 13;
export const SYNC_PERIOD = 14;
export const SYNC_REFRESH_PERIOD = 15;
export const SYNC_RETRIES = 16;
export const SYNC_PORTS = 17;
export const SYNC_QLEN_MAX = 18;
export const SYNC_SOCK_SIZE = 19;
export const NAT_ICMP_SEND = 20;
export const PMTU_DISC = 21;
export const BACKUP_ONLY = 22;
export const CONN_REUSE_MODE = 23;
export const SCHEDULE_ICMP = 24;
export const IGNORE_TUNNELED = 25;
export const RUN_ESTIMATION = 26;
/** wlvs' own: a SYN or datagram whose server is gone is scheduled anew at once. */
export const RESCHEDULE = 27;
/** wlvs' own: clamp the MSS of connections through tunnels. */
export const MSS_CLAMP = 28;
/** wlvs' own: seconds that persistence may go on sending to a server of weight 0 (0: as the kernel, for ever). */
export const DRAIN_SECONDS = 29;
/** Seconds that lblc and lblcr remember a destination that is not asked for; 0 is the kernel's default, a day. */
export const LBLC_EXPIRATION = 36;
export const LBLCR_EXPIRATION = 37;

// Timeouts in ticks: ipvsadm --set.
export const TIMEOUT_TCP = 32;
export const TIMEOUT_TCP_FIN = 33;
export const TIMEOUT_UDP = 34;
export const COUNT = 64;
/** wlvs' own: ICMP errors of each kind that the director sends per second at most; 0: no limit (net.ipv4.icmp_ratelimit). */
export const ICMP_RATE = 40;
/** wlvs' own: how many frames may wait for one neighbour. */
export const NEIGHBOUR_QUEUE = 41;
/** wlvs' own: what the kernel does by accident is done too (docs/ipvs-parity.md). */
export const KERNEL_QUIRKS = 35;
/** wlvs' own: full NAT tells servers the client's address in a TCP option. */
export const TOA = 42;
/** wlvs' own: what real servers of dr and tun send from a virtual address is routed on, as that of any other host. */
export const FORWARD_SHARED = 43;
/** wlvs' own: new addresses are announced by gratuitous ARP and unsolicited advertisements. */
export const ANNOUNCE = 44;
/** wlvs' own: the SYN proxy of services that do not say: 0 off, 1 on, 2 when it is needed. */
export const SYN_PROXY = 52;
/** wlvs' own: half-open connections of a service, or SYN a second, from which on it is needed. */
export const SYN_PROXY_THRESHOLD = 53;
/** wlvs' own: seconds that a UDP connection lives that no server has answered; 0: as long as any other. */
export const UDP_UNANSWERED = 54;
/** wlvs' own: RST a second, at most, for segments that belong to nothing here; 0: no limit. */
export const RESET_RATE = 56;
/** wlvs' own: whether clients over a limit are told (RST, ICMP), as far as ICMP_RATE lets; else silence. */
export const LIMIT_ANSWER = 55;
