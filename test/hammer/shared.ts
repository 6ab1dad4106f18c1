/** What the hammer test and its workers agree on. */
export const CLIENT_PORT = 1024;
/** Of the first service's servers; the second one's have the next. */
export const SERVER_PORT = 8080;
/** Frames of a breath, at most. */
export const BATCH = 64;
/** Words of a ring between two workers. */
export const MAILBOX = 1026;

export interface HammerData {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  readonly index: number;
  readonly workers: number;
  /** Tick to count from, and the wall clock's milliseconds then. */
  readonly now: number;
  readonly origin: number;
  /** Records of the ports. */
  readonly ports: { readonly ext: number; readonly int: number };
  /** Virtual ports: the first service stays, the second comes and goes. */
  readonly services: readonly number[];
  readonly servers: ReadonlyArray<readonly string[]>;
  /** So many servers of the first service are never taken away. */
  readonly stable: number;
  /** Flows of a worker to each service. */
  readonly flows: number;
  readonly mailboxes: SharedArrayBuffer;
  readonly control: Int32Array;
  readonly net: {
    readonly vip: string;
    readonly gatewayMac: string;
    readonly extMac: string;
    readonly intMac: string;
    readonly serverMac: string;
    readonly serverIp: string;
  };
}

export interface Report {
  frames: number;
  outputs: number;
  /** To servers, by service. */
  readonly forwarded: number[];
  /** Connections, by service. */
  readonly begun: number[];
  replies: number;
  resets: number;
  unreachable: number;
  announcements: number;
  /** Frames that did not come out again; resets and ICMP errors stand for some of them. */
  drops: number;
}
