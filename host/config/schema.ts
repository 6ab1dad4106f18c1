/** The configuration file: which keys there are and what they take. The JSON Schema for editors is made from this. */
import { isIPv4 } from "node:net";
import { z } from "zod";
import { isIPv6 } from "../address.js";
import { SCHEDULER_IDS } from "../core/control.js";
import { LvsError } from "../errors.js";
import { DNS_RECORDS } from "../health/checker.js";
import { LOG_LEVELS } from "../log.js";
import * as values from "./values.js";

/** A mapping that says which keys it has when it is given another. */
function mapping<T extends z.ZodRawShape>(shape: T) {
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === "unrecognized_keys") {
        return `no such key: ${issue.keys.join(", ")}: write one of ${Object.keys(shape).join(", ")}`;
      }
      return issue.code === "invalid_type" ? `write a mapping of ${Object.keys(shape).join(", ")}` : undefined;
    },
  });
}

/** A text that a parser of values.ts takes. */
function parsed(expected: string, parse: (text: string) => unknown) {
  return z.string(`write ${expected}`).superRefine((text, context) => {
    try {
      parse(text);
    } catch (error) {
      if (!(error instanceof LvsError)) throw error;
      context.addIssue({ code: "custom", message: error.message.replace(/^:? ?/, "") });
    }
  });
}

function whole(least: number, most: number) {
  const error = `write a number from ${least} to ${most}`;
  return z.int(error).min(least, error).max(most, error);
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;

/** Milliseconds of "500ms", "1.5s", "2m" or a number of seconds. */
export function milliseconds(value: string | number): number {
  if (typeof value === "number") return Math.round(value * 1000);
  const [, number, unit] = DURATION.exec(value) ?? [];
  return Math.round(Number(number) * (UNITS[unit ?? ""] ?? Number.NaN));
}

/** New connections a second of "100/s" or 100. */
export function rateOf(value: string | number): number {
  return typeof value === "number" ? value : Number.parseInt(value, 10);
}

function duration(least: number, most: number) {
  const error = `write a time as 500ms, 1.5s, 2m or 1h, or a number of seconds; from ${least} ms to ${most / 1000} s`;
  return z
    .union([z.number(), z.string().regex(DURATION)], { error })
    .refine((value) => milliseconds(value) >= least && milliseconds(value) <= most, { error });
}

const ENDPOINT = 'ADDR:PORT, as 192.0.2.1:80 or "[2001:db8::1]:80" (in quotes)';
const word = z.string("write a text").min(1, "write a text");
const list = <T extends z.ZodType>(item: T) => z.union([item, z.array(item)], { error: "write one, or a list" });
const argv = z
  .array(z.string("write texts"), "write a list: the program and its arguments")
  .min(1, "write a list: the program and its arguments");
const mode = z.enum(["nat", "dr", "tun", "fullnat"], "write one of nat, dr, tun, fullnat");
const protocol = z.enum(["tcp", "udp", "sctp"], "write one of tcp, udp, sctp");
const weight = whole(0, 65535);
const count = whole(0, 0xffffffff);
const netns = word;
const ip = z
  .string("write an IP address")
  .refine((text) => isIPv4(text) || isIPv6(text), { error: "write an IP address" });
const port = whole(1, 65535);

const PER_SECOND = "write a number a second, as 100 or 100/s";
const perSecond = z
  .union([z.int(PER_SECOND), z.string().regex(/^\d{1,8}\/s$/, PER_SECOND)], { error: PER_SECOND })
  .refine((value) => rateOf(value) >= 1 && rateOf(value) <= values.RATE_MOST, { error: PER_SECOND });

const timing = {
  interval: duration(10, 86_400_000).optional(),
  timeout: duration(1, 3_600_000).optional(),
  rise: whole(1, 1000).optional(),
  fall: whole(1, 1000).optional(),
  retry: duration(1, 3_600_000).optional(),
  delay: duration(0, 3_600_000).optional(),
};
const where = { address: ip.optional(), port: port.optional(), netns: netns.optional() };
const common = { ...timing, ...where };
const status = list(
  z.union([whole(100, 599), z.string().regex(/^[1-5]\d\d-[1-5]\d\d$/)], {
    error: "write a status or a range, 200-299",
  }),
);
const expression = z.string("write a regular expression").superRefine((text, context) => {
  try {
    new RegExp(text);
  } catch (error) {
    context.addIssue({ code: "custom", message: (error as Error).message });
  }
});
const page = {
  path: z
    .string()
    .regex(/^\/[!-~]*$/, "write a path that begins with /")
    .optional(),
  host: word.optional(),
  status: status.optional(),
  contains: word.optional(),
  matches: expression.optional(),
  digest: z
    .string()
    .regex(/^([0-9a-fA-F]{32}|[0-9a-fA-F]{64})$/, "write 32 (MD5) or 64 (SHA-256) hex digits")
    .optional(),
};
const TYPES = ["tcp", "http", "https", "dns", "udp", "ping", "command", "passive"] as const;
const NO_TYPE = `write type: one of ${TYPES.join(", ")}`;

export const check = z.discriminatedUnion(
  "type",
  [
    mapping({ type: z.literal("tcp"), ...common }),
    mapping({ type: z.literal("http"), ...page, ...common }),
    mapping({
      type: z.literal("https"),
      ...page,
      verify: z.boolean("write true or false").optional(),
      sni: word.optional(),
      ca: word.optional().describe("a file of certificates to trust, PEM"),
      ...common,
    }),
    mapping({
      type: z.literal("dns"),
      name: z
        .string("write a domain name")
        .regex(/^([^.\s]{1,63}\.)*[^.\s]{0,63}$/, "write a domain name")
        .optional(),
      record: z
        .enum(
          Object.keys(DNS_RECORDS) as [keyof typeof DNS_RECORDS],
          `write one of ${Object.keys(DNS_RECORDS).join(", ")}`,
        )
        .optional(),
      ...common,
    }),
    mapping({ type: z.literal("udp"), send: z.string().optional(), expect: z.string().optional(), ...common }),
    mapping({ type: z.literal("ping"), ...common }),
    mapping({ type: z.literal("command"), argv, ...common }),
    mapping({
      type: z.literal("passive"),
      refused: whole(0, 65535).optional().describe("connections refused within the window that take a server out"),
      unanswered: whole(0, 65535).optional().describe("connections left unanswered within the window that do so"),
      window: duration(100, 3_600_000).optional(),
      hold: duration(100, 86_400_000).optional().describe("until it is tried again"),
    }),
  ],
  { error: NO_TYPE },
);

const tunnel = mapping({
  type: z.enum(["ipip", "gue", "gre"], "write one of ipip, gue, gre"),
  port: port.optional(),
  checksum: z.enum(["nocsum", "csum", "remcsum"], "write one of nocsum, csum, remcsum").optional(),
});

export const server = mapping({
  rip: parsed(ENDPOINT, (text) => values.hostAddress("", values.endpoint("", text).address.text)),
  weight: weight.optional(),
  mode: mode.optional(),
  upper: count.optional().describe("connections from which on it gets no more"),
  lower: count.optional(),
  tunnel: tunnel.optional(),
  check: z.union([check, z.array(check).min(1), z.literal(false)]).optional(),
});

/** In an order that does not depend on who loads the module. */
const SCHEDULERS = Object.keys(SCHEDULER_IDS).sort();

const quorum = z.union(
  [
    whole(1, 1_000_000_000),
    mapping({
      weight: whole(1, 1_000_000_000).optional(),
      hysteresis: whole(0, 1_000_000_000).optional(),
      up: argv.optional(),
      down: argv.optional(),
    }),
  ],
  { error: "write a weight, or a mapping of weight, hysteresis, up, down" },
);

const limit = { connections: whole(1, 0xffffffff).optional(), rate: perSecond.optional() };
const limits = mapping({
  ...limit,
  per_source: mapping(limit).optional().describe("of one client: an IPv4 address or an IPv6 /64"),
});
const synProxy = z.enum(["auto", "on", "off"], "write auto, on or off");

export const service = mapping({
  vip: parsed(ENDPOINT, (text) => values.endpoint("", text.replace(/\/[a-z]+$/, ""))).optional(),
  mark: whole(1, 0xffffffff).optional(),
  family: z.union([z.literal(4), z.literal(6)], "write 4 or 6").optional(),
  protocol: protocol.optional(),
  scheduler: z.enum(SCHEDULERS, `write one of ${SCHEDULERS.join(", ")}`).optional(),
  flags: list(word).optional(),
  mode: mode.optional(),
  persistent: z.union([z.literal(true), whole(1, 31 * 86400)], { error: "write seconds, or true" }).optional(),
  granularity: z
    .union([whole(0, 128), z.string().refine(isIPv4)], { error: "write a prefix length or a netmask" })
    .optional(),
  engine: z.enum(["sip"], "write sip").optional(),
  one_packet: z.boolean("write true or false").optional(),
  syn_proxy: synProxy.optional(),
  limits: limits.optional(),
  check: z.union([check, z.array(check).min(1)]).optional(),
  on_failure: z.enum(["remove", "inhibit"], "write remove or inhibit").optional(),
  connections: z
    .enum(["keep", "reset", "reschedule"], "write one of keep, reset, reschedule")
    .optional()
    .describe("what becomes of a failed server's connections"),
  slow_start: duration(0, 86_400_000).optional(),
  sorry: server.optional(),
  quorum: quorum.optional(),
  panic: whole(1, 100).optional().describe("percent of healthy servers below which all are used"),
  servers: z.array(server, "write a list of servers, each with rip:").optional(),
});

const port_ = mapping({
  tap: word.optional(),
  tun: word.optional(),
  ip: list(z.string("write ADDRESS/PREFIX")).optional(),
  gw: list(ip).optional(),
  mac: z.string("write a MAC address, in quotes").optional(),
  mtu: whole(68, 65521).optional(),
  bridge: word.optional(),
  netns: netns.optional(),
  persist: z.boolean("write true or false").optional(),
  routes: z.literal("auto", "write auto").optional(),
});

const route = mapping({
  to: z.string("write a network as 10.0.0.0/8, or default"),
  via: ip.optional(),
  local: z.literal(true, "write true").optional(),
  mark: whole(1, 0xffffffff).optional(),
});

const neighbour = mapping({ ip, mac: z.string("write a MAC address, in quotes"), port: word });

export const file = mapping({
  ports: z.array(port_, "write a list of ports, each with tap: or tun:").optional(),
  services: z.array(service, "write a list of services, each with vip: or mark:").optional(),
  check_netns: netns.optional().describe("the network namespace that checks leave from"),
  checks: mapping(timing).optional().describe("for every check that does not say otherwise"),
  settings: z
    .record(z.string(), z.union([count, z.boolean(), z.string()], { error: "write a number" }))
    .optional()
    .describe("net.ipv4.vs.*"),
  timeouts: mapping({
    tcp: whole(1, 2_147_483).optional(),
    tcp_fin: whole(1, 2_147_483).optional(),
    udp: whole(1, 2_147_483).optional(),
  }).optional(),
  routes: z.array(route, "write a list of routes, each with to:").optional(),
  neighbours: z.array(neighbour, "write a list of ip:, mac: and port:").optional(),
  rules: list(word).optional().describe("files of ipvsadm-save -n"),
  marks: word.optional().describe("a file of nftables rules that end in `meta mark set N`"),
  watch: z.boolean("write true or false").optional().describe("whether a change of this file is applied at once"),
  forward: z.boolean("write true or false").optional(),
  syn_proxy: synProxy.optional().describe("for every service that does not say otherwise"),
  profile: z.enum(["kernel", "wlvs"], "write kernel or wlvs").optional(),
  socket: word.optional(),
  socket_group: word.optional(),
  listen: parsed(ENDPOINT, (text) => values.endpoint("", text)).optional(),
  listen_admin: z.boolean("write true or false").optional(),
  workers: whole(1, 32).optional(),
  max_connections: whole(16, 40_000_000).optional(),
  state: word.optional(),
  io: z.enum(["auto", "uring", "rw"], "write one of auto, uring, rw").optional(),
  spin: whole(0, 10_000).optional(),
  log_level: z.enum(LOG_LEVELS, `write one of ${LOG_LEVELS.join(", ")}`).optional(),
  user: word.optional(),
  procfs: word.optional().describe("a directory for files as /proc/net/ip_vs is one"),
});

export type CheckEntry = z.infer<typeof check>;
export type ServerEntry = z.infer<typeof server>;
export type ServiceEntry = z.infer<typeof service>;
export type PortEntry = z.infer<typeof port_>;
export type RouteEntry = z.infer<typeof route>;
export type FileEntry = z.infer<typeof file>;

/** For editors: yaml-language-server and others check a file against it while it is written. */
export function jsonSchema(): object {
  return { title: "wlvs", ...z.toJSONSchema(file, { io: "input", unrepresentable: "any", reused: "ref" }) };
}
