/**
 * Moves frames between devices and slots. A worker's breath is receive, core.run, send; when nothing came, wait.
 * The core's stages know of none of this: they see the lists of layout/worker.ts.
 */

/** A worker's end of a port: one queue of its device. */
export interface Queue {
  /** The host's number of the port. */
  readonly number: number;
  readonly name: string;
  readonly fd: number;
  /** The port's record in the shared memory. */
  readonly record: number;
  /** Where a frame begins in a slot, so that its IP header is aligned. */
  readonly frameAt: number;
}

/** What a transport tells its worker: rare things only. */
export interface TransportEvents {
  /** A frame that a device did not take; called with the port's record. */
  sendFailed(record: number): void;
  /** A queue that does not work any more (its device is gone), or works again. */
  queueFailed(queue: Queue, errno: number): void;
  queueRecovered(queue: Queue): void;
}

export interface Transport {
  /** When wait() was last called, as performance.now() has it; whoever takes it sets it to 0. */
  idleSince: number;
  /** Takes slots from SUPPLY, fills them, appends them to RECEIVED; how many. Never blocks. */
  receive(): number;
  /** Sends what lies in SEND, in order. What a device does not take is lost and counted. */
  send(count: number): void;
  /** Until a frame comes, somebody writes to the worker's eventfd, or the time is over. */
  wait(timeoutMs: number): void;
  close(): void;
}
