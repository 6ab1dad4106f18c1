/** What a command gets from outside: streams, environment, arguments. Tests hand in their own. */
import type { Command } from "commander";
import type { RemoteIpvs } from "../control/client.js";
import type { Ahead } from "../keeper/ahead.js";

export interface TextSink {
  /** False, as a stream's: it holds enough, and says "drain" when it wants more. */
  write(text: string): unknown;
  once?(event: "drain", listener: () => void): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface CliContext {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly stdin: AsyncIterable<string | Uint8Array>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  /** A process for the director that is to be run, if one was started. */
  readonly ahead?: Ahead | undefined;
  /** The running director; nothing is connected before it is asked. */
  director(socket?: string): Promise<RemoteIpvs>;
  /** How the process is to end; a command that throws ends with the status of its error. */
  exitStatus: number;
}

/** A file of commands/: adds its command to the program. `whole` makes the program with every command in full. */
export interface CommandModule {
  register(program: Command, context: CliContext, whole: () => Promise<Command>): void;
}
