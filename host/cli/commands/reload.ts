/** `wlvs reload`: the running director reads its configuration again. */
import type { Command } from "commander";
import { IpvsError } from "../../ipvs/model.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("reload")
    .summary("read the configuration again")
    .description(
      "Has the running director read its configuration file again (as SIGHUP does) and apply what is different, all of it\n" +
        "or, when something is wrong, nothing. Connections stay.",
    )
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .option("--json", "what changed as JSON")
    .action(async (options: { socket?: string; json?: boolean }) => {
      const director = await context.director(options.socket);
      try {
        const result = await director.reload();
        if (options.json) context.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
        else {
          if (result.changes.length === 0) context.stdout.write("nothing is different\n");
          for (const change of result.changes) context.stdout.write(`${change}\n`);
          if (result.restart.length > 0) {
            context.stderr.write(`wlvs: waits for a restart of the director: ${result.restart.join(", ")}\n`);
          }
        }
      } catch (error) {
        if (!(error instanceof IpvsError)) throw error;
        context.stderr.write(`${error.message}\nwlvs: nothing is changed\n`);
        context.exitStatus = 1;
      }
    });
  examples(command, "wlvs reload");
}
