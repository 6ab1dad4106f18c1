/** `wlvs upgrade`: another director takes the place of the running one. */
import type { Command } from "commander";
import { IpvsError } from "../../ipvs/model.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("upgrade")
    .summary("replace the running director by this version")
    .description(
      "Has the keeper start a second director, from the code that is on the disk now, beside the running one; hands it\n" +
        "all tables, and ends the old one. Connections go on. When the new one does not come up, the old one goes on.\n" +
        "The keeper itself stays as it is until the next restart.",
    )
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .option("--json", "the result as JSON")
    .action(async (options: { socket?: string; json?: boolean }) => {
      const director = await context.director(options.socket);
      try {
        const result = await director.upgrade();
        const { pid, version, connections, pause } = result;
        context.stdout.write(
          options.json
            ? `${JSON.stringify(result, null, 2)}\n`
            : `wlvs ${version}, pid ${pid}, took over ${connections} connections; frames waited ${pause} ms\n`,
        );
      } catch (error) {
        if (!(error instanceof IpvsError)) throw error;
        context.stderr.write(`wlvs: the running director goes on: ${error.message}\n`);
        context.exitStatus = 1;
      }
    });
  examples(command, "wlvs upgrade");
}
