/** A name server answers a question: well is one that says NOERROR, or that says so of a name it does not have. */
import { randomInt } from "node:crypto";
import { type Checker, DNS_RECORDS, type DnsRecord, type Target } from "./checker.js";
import { exchange } from "./udp.js";

const HEADER = 12;
const RESPONSE = 0x80;
const RECURSION_DESIRED = 0x01;
const CLASS_IN = 1;
const RCODES = ["", "format error", "server failure", "name error", "not implemented", "refused"];
const NAME_ERROR = 3;

export const dns: Checker = {
  begin(target, done) {
    const spec = target.spec as Extract<Target["spec"], { type: "dns" }>;
    const id = randomInt(0x10000);
    const query = dnsQuery(id, spec.name, spec.record);
    const close = exchange(
      target,
      query,
      (message) => {
        // Something late, or somebody else's.
        if (message.length < HEADER || message.readUInt16BE(0) !== id || (message[2]! & RESPONSE) === 0) return;
        close();
        const code = message[3]! & 15;
        done(code === 0 || code === NAME_ERROR ? undefined : (RCODES[code] ?? `code ${code}`));
      },
      done,
    );
    return close;
  },
};

/** RFC 1035, 4: one question. */
export function dnsQuery(id: number, name: string, record: DnsRecord): Buffer {
  const header = Buffer.alloc(HEADER);
  header.writeUInt16BE(id, 0);
  header[2] = RECURSION_DESIRED;
  header.writeUInt16BE(1, 4);
  const labels = name
    .split(".")
    .filter((label) => label !== "")
    .flatMap((label) => [Buffer.of(Buffer.byteLength(label)), Buffer.from(label)]);
  const tail = Buffer.alloc(5);
  tail.writeUInt16BE(DNS_RECORDS[record], 1);
  tail.writeUInt16BE(CLASS_IN, 3);
  return Buffer.concat([header, ...labels, tail]);
}
