/** The language of filters: what it takes, what it refuses and where, and what its programs take. */
import { describe, expect, it } from "vitest";
import { compileFilter, FilterError, parseFilter } from "../../host/trace/filter.js";

const PORTS = ["ext0", "int0"];

describe("a filter", () => {
  it.each([
    "",
    "tcp",
    "host 192.0.2.1",
    "src 192.0.2.1",
    "src or dst host 192.0.2.1 and port 80",
    "src and dst net 10.0.0.0/8",
    "net 192.168",
    "net 10.0.0.0 mask 255.0.0.0",
    "tcp port 80 or 443 or 8080",
    "udp dst portrange 1024-2047",
    "ip6 host 2001:db8::1",
    "ip proto icmp and not icmp6",
    "ether src 02:00:00:00:00:01",
    "not (arp or vlan) && ! fragment || vlan 7",
    "service 192.0.2.1:80 or service tcp:192.0.2.1:80 or service mark:7:ipv4",
    "server 192.0.2.8 or server [2001:db8::8]:80",
    "verdict drop and reason no-server",
    "in ext0 and out int0 or dev int0",
    "made or new or mark 0x10 or less 64 or greater 1500",
  ])("is understood: %s", (text) => {
    expect(compileFilter(parseFilter(text), PORTS).length % 32).toBe(0);
  });

  it.each([
    ["host", 4, "an address is missing"],
    ["tcp port", 8, "a port is missing"],
    ["port http", 5, "a port is a number"],
    ["port 65536", 5, "a port is a number"],
    ["portrange 9-1", 10, "a range is written"],
    ["host example.org", 5, "names are not looked up"],
    ["192.0.2.1", 0, "write host 192.0.2.1"],
    ["net 10.0.0.1/8", 4, "bits are set behind the first 8"],
    ["net 10.0.0.0/33", 4, "a prefix is a number up to 32"],
    ["net 10.0.0.0 mask 255.0.255.0", 18, "no mask"],
    ["tcp and", 7, "a condition is missing"],
    ["tcp udp", 4, "'and' or 'or' is missing"],
    ["(tcp", 4, ") is missing"],
    ["tcp)", 3, "no ( is open here"],
    ["verdict dropped", 8, "no such verdict: there are forward"],
    ["reason nothing", 7, "no such reason"],
    ["service 80", 8, "no service"],
    ["server x", 7, "no real server"],
    ["ether host 1.2.3.4", 11, "no MAC address"],
    ["arp port 80", 4, "arp has no ports"],
    ["poort 80", 0, "no such condition"],
    ["mark x", 5, "a mark is a number"],
    ["vlan 4096", 5, "a VLAN is a number"],
    // Found by the fuzzer: a zone, and words that every object has.
    ["host fe80::1%eth0", 5, "no IP address"],
    ["net ::%h", 4, "no network"],
    ["constructor", 0, "no such condition"],
    ["proto toString", 6, "a protocol is a number"],
    ["tcp & udp", 4, "no IP address"],
  ])("is refused with its place: %s", (text, at, message) => {
    try {
      parseFilter(text);
    } catch (error) {
      expect(error).toBeInstanceOf(FilterError);
      expect((error as FilterError).message).toContain(message);
      expect((error as FilterError).message).toContain(`character ${at + 1}`);
      return;
    }
    throw new Error("it was taken");
  });

  it("names the ports that there are", () => {
    expect(() => compileFilter(parseFilter("tcp and dev eth9"), PORTS)).toThrow(
      'filter, character 13 ("eth9"): no such port: there are ext0, int0',
    );
  });

  it("is refused when it has too many conditions", () => {
    const text = Array.from({ length: 129 }, (_, n) => `port ${n + 1}`).join(" or ");
    expect(() => compileFilter(parseFilter(text), PORTS)).toThrow("129 conditions are too many: at most 128");
  });
});
