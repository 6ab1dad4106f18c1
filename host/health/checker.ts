/** What is checked, and how: plain data that crosses processes, and the one shape that every kind of check has. */
import type { Family } from "../ipvs/model.js";

/** All in milliseconds, but rise and fall: so many answers in a row until a server counts as up, or as down. */
export interface Timing {
  readonly interval: number;
  readonly timeout: number;
  readonly rise: number;
  readonly fall: number;
  /** Between checks of a server that just failed and is not down yet. */
  readonly retry: number;
  /** Before the first check, beside a random part of the interval that spreads checks out. */
  readonly delay: number;
}

export interface HttpCheck {
  readonly type: "http" | "https";
  readonly path: string;
  /** Virtual host: the Host header; undefined: the server's address. */
  readonly host?: string | undefined;
  /** Ranges of good statuses. */
  readonly status: ReadonlyArray<readonly [number, number]>;
  /** A text that the body has to contain. */
  readonly contains?: string | undefined;
  /** A regular expression that the body has to match. */
  readonly matches?: string | undefined;
  /** In hex: 32 digits are MD5, 64 SHA-256. */
  readonly digest?: string | undefined;
  /** Whether a certificate has to be good for `sni`, or for `host`. */
  readonly verify: boolean;
  readonly sni?: string | undefined;
  /** Certificates to trust, PEM. */
  readonly ca?: string | undefined;
}

export type CheckKind =
  | { readonly type: "tcp" }
  | HttpCheck
  | { readonly type: "dns"; readonly name: string; readonly record: DnsRecord }
  | {
      readonly type: "udp";
      /** What is sent. */
      readonly send: string;
      /** A text that has to come back; undefined: anything but a refusal will do, silence too. */
      readonly expect?: string | undefined;
    }
  | { readonly type: "ping" }
  | { readonly type: "command"; readonly argv: readonly [string, ...string[]] };

/** What clients meet in the data path says how a server is; nothing is sent to it. */
export interface PassiveCheck {
  readonly type: "passive";
  /** So many refused connections, or unanswered ones, within the window (ms) take a server out; 0: any number may be. */
  readonly refused: number;
  readonly unanswered: number;
  readonly window: number;
  /** Milliseconds until it is tried again. */
  readonly hold: number;
}

export const DNS_RECORDS = { A: 1, NS: 2, CNAME: 5, SOA: 6, PTR: 12, MX: 15, TXT: 16, AAAA: 28, SRV: 33 } as const;
export type DnsRecord = keyof typeof DNS_RECORDS;

export type CheckSpec = CheckKind &
  Timing & {
    /** Where the check goes when not to the server itself. */
    readonly address?: string | undefined;
    readonly port?: number | undefined;
    /** The network namespace that checks leave from; undefined: that of `wlvs run`. */
    readonly netns?: string | undefined;
  };

/** One check of one server. */
export interface Target {
  /** Service and server, so that it is known again. */
  readonly id: string;
  readonly spec: CheckSpec;
  readonly family: Family;
  readonly address: string;
  readonly port: number;
  /** For commands: which service it is about. */
  readonly virtual: string;
  readonly virtualPort: number;
}

/** undefined: the server is well; else what is wrong with it, in a few words. */
export type Problem = string | undefined;

/** Gives an attempt up; nothing is reported after that. */
export type Abandon = () => void;

export interface Checker {
  /** Begins one attempt, which calls `done` at most once unless it is abandoned. The timeout is the caller's. */
  begin(target: Target, done: (problem: Problem) => void): Abandon;
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network is unreachable",
  ETIMEDOUT: "timed out",
  EADDRNOTAVAIL: "no local port is left",
  EMFILE: "too many open files",
};

/** A system's error in a person's words. */
export function problemOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return WORDS[code ?? ""] ?? message ?? String(error);
}
