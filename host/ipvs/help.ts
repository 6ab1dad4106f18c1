/** What --help and --version print: wlvs' own words. */
import { IPVS_VERSION } from "./format.js";

/** The grammar that this program follows. */
const GRAMMAR_VERSION = "1.31";

export function versionText(program: string, version: string): string {
  return `${program}${version === "" ? "" : ` v${version}`} (compatible with ipvsadm v${GRAMMAR_VERSION} and IPVS v${IPVS_VERSION})\n`;
}

export function helpText(program: string, version: string): string {
  return `${versionText(program, version)}
Changes and shows the tables of the running director ($WLVS_SOCKET, or /run/wlvs.sock).
The command comes first, its options follow in any order; short ones may share a dash.

Services
  ${program} -A SERVICE [-s NAME] [-p [SECONDS]] [-M MASK] [--pe NAME] [-o] [-b FLAGS]
                                add a service
  ${program} -E SERVICE [the same]  replace its settings
  ${program} -D SERVICE             remove it, with its real servers

Real servers
  ${program} -a SERVICE -r SERVER [-g|-i|-m|--fullnat] [-w N] [-x N] [-y N] [--tun-...]
                                add a real server to a service
  ${program} -e SERVICE -r SERVER [the same]  replace its settings
  ${program} -d SERVICE -r SERVER   remove it

Tables
  ${program} -L [SERVICE] [-n] [--stats|--rate|--thresholds|--persistent-conn|--tun-info]
  ${program} -L -c [-n] [--persistent-conn]   connections
  ${program} -L --timeout           timeouts
  ${program} -L --daemon            connection synchronisation
  ${program} -Z [SERVICE]           set counters to zero
  ${program} -C                     remove everything
  ${program} -S [-n]                print rules
  ${program} -R                     read rules from standard input
  ${program} --set TCP TCPFIN UDP   timeouts in seconds; 0 leaves one alone
  ${program} --start-daemon master|backup [--mcast-interface NAME] [--syncid N] [--sync-maxlen N]
             [--mcast-group ADDRESS] [--mcast-port N] [--mcast-ttl N]
  ${program} --stop-daemon master|backup
  ${program} -h, ${program} -v          this help; the version

SERVICE is one of
  -t, --tcp-service HOST:PORT   -u, --udp-service HOST:PORT   --sctp-service HOST:PORT
  -f, --fwmark-service MARK     followed by -6 (--ipv6) when it balances IPv6
  HOST is a name, an IPv4 address, or an IPv6 address in brackets. PORT is a number or a name;
  port 0 takes every port of a persistent service.

Options of services
  -s, --scheduler NAME      rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh twos maglev (wlc)
  -p, --persistent [SECONDS]    a client stays with its server (360)
  -M, --netmask MASK        how many clients count as one: a netmask, or an IPv6 prefix length
      --pe NAME             persistence engine: sip
  -o, --ops                 schedule every datagram by itself
  -b, --sched-flags FLAGS   sh-fallback,sh-port  mh-fallback,mh-port  flag-1,flag-2,flag-3

Options of real servers
  -r, --real-server HOST[:PORT]   without a port: the service's; IPv6 needs one, [2001:db8::8]:80
  -g, --gatewaying          direct routing: the frame goes to the server's MAC (default)
  -i, --ipip                through a tunnel
  -m, --masquerading        NAT
      --fullnat             NAT of both ends: answers need not be routed through the director
  -w, --weight N            its share (1); 0 gets no new connections
  -x, --u-threshold N       no new connections from N on (0: no limit)
  -y, --l-threshold N       until fewer than N are left
      --tun-type TYPE       ipip gue gre (ipip)
      --tun-port N          gue: the UDP port that it goes to
      --tun-nocsum --tun-csum --tun-remcsum   gue and gre: checksum of the outer header

Options of listings
  -n, --numeric             addresses and ports as numbers
  -c, --connection          connections
      --stats --rate        counters, and what they grew by each second
      --exact               counters in full
      --thresholds          connection limits
      --persistent-conn     weights and persistent connections; with -c: data of the persistence engine
      --tun-info            tunnels
      --nosort              as the director keeps them

Examples
  A web service with two real servers behind NAT, the second of which gets twice the connections:
    ${program} -A -t 192.168.4.133:80 -s wrr
    ${program} -a -t 192.168.4.133:80 -r 192.168.2.128 -m -w 1
    ${program} -a -t 192.168.4.133:80 -r 192.168.2.129 -m -w 2
  Take one out of service, without breaking its connections:
    ${program} -e -t 192.168.4.133:80 -r 192.168.2.129 -m -w 0
  Keep the rules, and bring them back:
    ${program} -Sn > rules
    ${program} -C && ${program} -R < rules
`;
}
