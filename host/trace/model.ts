/** What is told of frames and connections: plain data, ready for JSON. */

export interface TraceStage {
  readonly stage: string;
  readonly text: string;
}

export interface TracedConnection {
  readonly client: string;
  readonly clientPort: number;
  readonly virtual: string;
  readonly virtualPort: number;
  readonly server: string;
  readonly serverPort: number;
  /** After this frame; empty when the frame ended the connection. */
  readonly state: string;
  readonly new: boolean;
}

/** What became of a frame. */
export interface TraceRecord {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly worker: number;
  readonly in: string | null;
  readonly out: string | null;
  readonly verdict: "forward" | "local" | "consumed" | "drop";
  readonly reason?: string | undefined;
  /** The director made this frame itself. */
  readonly made: boolean;
  readonly stages: readonly TraceStage[];
  readonly service?: string | undefined;
  readonly server?: string | undefined;
  readonly forwarding?: string | undefined;
  readonly connection?: TracedConnection | undefined;
  /** Hexadecimal, up to the length that was asked for; empty when the frame did not come just now. */
  readonly before: string;
  /** null when nothing left. */
  readonly after: string | null;
  /** Bytes that the frames had, where some were left out; the vnet_hdr, where it says anything. */
  readonly beforeLength?: number | undefined;
  readonly afterLength?: number | undefined;
  readonly beforeVnet?: string | undefined;
  readonly afterVnet?: string | undefined;
  readonly text: string;
  /** Records before this one that had no room, and that were over the rate. */
  readonly lost?: number | undefined;
  readonly limited?: number | undefined;
}

export interface ConnectionEvent {
  readonly time: number;
  readonly event: "open" | "close";
  readonly worker: number;
  readonly protocol: string;
  readonly client: string;
  readonly clientPort: number;
  readonly virtual: string;
  readonly virtualPort: number;
  readonly server: string;
  readonly serverPort: number;
  readonly forwarding: string;
  readonly state: string;
  /** Of a connection that ended: from the client, and from the server. undefined where there was no room to count. */
  readonly packets?: { readonly in: number; readonly out: number } | undefined;
  /** Of IP. */
  readonly bytes?: { readonly in: number; readonly out: number } | undefined;
  /** Milliseconds. */
  readonly duration?: number | undefined;
  readonly lost?: number | undefined;
}

export interface TraceOptions {
  readonly filter?: string | undefined;
  /** Bytes of a frame that are kept. */
  readonly snap?: number | undefined;
  /** Records a second at most; 0: all of them. */
  readonly rate?: number | undefined;
  /** Whoever asks is not on this machine's control socket: there is always room for one who is. */
  readonly remote?: boolean | undefined;
}

/** What was lost since the trace began: no room in the ring or with the reader, and over the rate. */
export interface TraceLosses {
  readonly lost: number;
  readonly limited: number;
}

/** Told to those who ask for it: what was lost, when nothing follows that could tell. */
export interface TraceNotice {
  readonly notice: "losses";
  readonly lost: number;
  readonly limited: number;
}

/** What a replay has to begin with to come out alike; and the ports. */
export interface TraceOrigin {
  /** Of the hashes: a secret. */
  readonly seed: number;
  /** Identification before that of the next packet that the director makes. */
  readonly nextId: number;
  /** Milliseconds since 1970 at tick 0 of the core's clock. */
  readonly epoch: number;
  readonly ports: ReadonlyArray<{ readonly name: string; readonly link: boolean; readonly mac?: string | undefined }>;
}

/** Where frames and connections are told of. */
export interface TraceSource {
  /** Records as they come, until `count` were given or the signal is. Throws an IpvsError: EINVAL, EBUSY. */
  trace(
    options: TraceOptions & { readonly count?: number | undefined; readonly notices?: boolean | undefined },
    signal: AbortSignal,
  ): AsyncIterable<TraceRecord | TraceNotice>;
  /** Of one in `sample` new connections. Throws an IpvsError, EBUSY. */
  events(
    options: { readonly sample: number; readonly count?: number | undefined; readonly remote?: boolean | undefined },
    signal: AbortSignal,
  ): AsyncIterable<ConnectionEvent>;
  /** As it is now: asked for before a trace begins. */
  origin(): TraceOrigin;
}
