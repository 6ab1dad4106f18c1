/** A command line of wlvs within this process: what it says, and how it ends. */
import type { CliContext, TextSink } from "../../host/cli/context.js";
import { runCli } from "../../host/cli/program.js";

export interface Said {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** A reader that takes one piece at a time. */
export class SlowReader implements TextSink {
  text = "";
  pieces = 0;
  /** Pieces that did not wait for the one before. */
  early = 0;
  private isFull = false;

  write(text: string): boolean {
    if (this.isFull) this.early++;
    this.pieces++;
    this.text += text;
    this.isFull = true;
    return false;
  }

  once(_: "drain", listener: () => void): void {
    setImmediate(() => {
      this.isFull = false;
      listener();
    });
  }
}

/** `during` runs beside it; what goes to `stdout` is not in what it said. */
export async function cli(
  argv: readonly string[],
  director: CliContext["director"],
  during: () => Promise<void> = async () => {},
  stdout?: TextSink,
): Promise<Said> {
  let out = "";
  let err = "";
  const context: CliContext = {
    stdout: stdout ?? { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    stdin: (async function* () {})(),
    env: {},
    version: "0.1.0",
    exitStatus: 0,
    director,
  };
  const [status] = await Promise.all([runCli(argv, context), during()]);
  return { status, out, err };
}
