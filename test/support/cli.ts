/** A command line of wlvs within this process: what it says, and how it ends. */
import type { CliContext } from "../../host/cli/context.js";
import { runCli } from "../../host/cli/program.js";

export interface Said {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** `during` runs beside it. */
export async function cli(
  argv: readonly string[],
  director: CliContext["director"],
  during: () => Promise<void> = async () => {},
): Promise<Said> {
  let out = "";
  let err = "";
  const context: CliContext = {
    stdout: { write: (text) => (out += text) },
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
