/** wlvsadm's options as data. Their words are ipvsadm's. */
import { IPVSADM_OPTIONS } from "../ipvs/grammar.js";
import type { OptionModel } from "./model.js";

/** By long name: what the value is called, and what the option does. */
const TEXTS: Readonly<Record<string, readonly [value: string, description: string]>> = {
  "add-service": ["", "add a virtual service"],
  "edit-service": ["", "replace the settings of a virtual service"],
  "delete-service": ["", "remove a virtual service, with its real servers"],
  clear: ["", "remove all services"],
  list: ["", "show services, or connections"],
  zero: ["", "set counters to zero"],
  "add-server": ["", "add a real server to a service"],
  "edit-server": ["", "replace the settings of a real server"],
  "delete-server": ["", "remove a real server from a service"],
  set: ["", "set the timeouts of TCP, TCP after FIN, and UDP: three numbers of seconds, 0 leaves one alone"],
  help: ["", "show help"],
  version: ["", "show the version"],
  restore: ["", "read rules from standard input"],
  save: ["", "print rules"],
  "start-daemon": ["<role>", "connection synchronisation as master or backup (refused: there is none)"],
  "stop-daemon": ["<role>", "end connection synchronisation"],
  "tcp-service": ["<host:port>", "a TCP service"],
  "udp-service": ["<host:port>", "a UDP service"],
  "sctp-service": ["<host:port>", "an SCTP service"],
  "fwmark-service": ["<mark>", "a service of a firewall mark"],
  ipv6: ["", "the service of a mark balances IPv6"],
  scheduler: ["<name>", "how the service picks a real server (wlc)"],
  persistent: ["[seconds]", "a client stays with its real server (360)"],
  netmask: ["<mask>", "how many clients count as one: a netmask, or an IPv6 prefix length"],
  pe: ["<name>", "persistence engine: sip"],
  ops: ["", "schedule every datagram by itself"],
  "sched-flags": ["<flags>", "flags of the scheduler"],
  "real-server": ["<host:port>", "a real server; without a port, the service's"],
  masquerading: ["", "NAT"],
  ipip: ["", "through a tunnel"],
  gatewaying: ["", "direct routing: the frame goes to the server's MAC (default)"],
  fullnat: ["", "NAT of both ends: answers need not be routed through the director"],
  "tun-type": ["<type>", "ipip, gue or gre (ipip)"],
  "tun-port": ["<port>", "gue: the UDP port that it goes to"],
  "tun-nocsum": ["", "no checksum in the outer header"],
  "tun-csum": ["", "a checksum in the outer header"],
  "tun-remcsum": ["", "remote checksum offload in the outer header"],
  weight: ["<n>", "the server's share (1); 0 gets no new connections"],
  "u-threshold": ["<n>", "no new connections from so many on (0: no limit)"],
  "l-threshold": ["<n>", "until fewer than so many are left"],
  numeric: ["", "addresses and ports as numbers"],
  connection: ["", "list connections"],
  timeout: ["", "list timeouts"],
  daemon: ["", "list the state of connection synchronisation"],
  stats: ["", "counters"],
  rate: ["", "what the counters grew by each second"],
  thresholds: ["", "connection limits"],
  "persistent-conn": ["", "weights and persistent connections; with -c, data of the persistence engine"],
  "tun-info": ["", "tunnels"],
  nosort: ["", "as the director keeps them"],
  sort: ["", "sorted (default)"],
  exact: ["", "counters in full"],
  "mcast-interface": ["<device>", "of connection synchronisation"],
  syncid: ["<n>", "of connection synchronisation"],
  "sync-maxlen": ["<n>", "of connection synchronisation"],
  "mcast-group": ["<address>", "of connection synchronisation"],
  "mcast-port": ["<n>", "of connection synchronisation"],
  "mcast-ttl": ["<n>", "of connection synchronisation"],
};

export function wlvsadmOptions(): OptionModel[] {
  return IPVSADM_OPTIONS.map(({ long, short }) => {
    const [value = "", description = ""] = TEXTS[long] ?? [];
    return {
      long: `--${long}`,
      short: short === undefined ? undefined : `-${short}`,
      value: value === "" ? undefined : value,
      description,
    };
  });
}
