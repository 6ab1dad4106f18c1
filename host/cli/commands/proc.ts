/** `wlvs proc`: the running director's tables as the files of /proc/net/ip_vs*. */
import type { Command } from "commander";
import { usage } from "../../errors.js";
import { isProcFile, PROC_FILES, procFile } from "../../ipvs/proc.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";
import { put } from "../put.js";

/** Pieces of a long file are written together. */
const CHUNK = 64 * 1024;

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("proc")
    .summary("show what a file of /proc/net/ip_vs* would")
    .description("Shows the running director's tables, byte for byte as the kernel's files do.")
    .argument("<file>", `${PROC_FILES.join(", ")}, with or without /proc/net/ before it`)
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .action(async (argument: string, options: { socket?: string }) => {
      const file = argument.replace(/^\/proc\/(self\/)?net\//, "");
      if (!isProcFile(file)) throw usage(`proc ${argument}: write one of ${PROC_FILES.join(", ")}`);
      const director = await context.director(options.socket);
      let chunk = "";
      for await (const piece of procFile(file, director)) {
        chunk += piece;
        if (chunk.length < CHUNK) continue;
        await put(context.stdout, chunk);
        chunk = "";
      }
      context.stdout.write(chunk);
    });
  examples(command, "wlvs proc ip_vs\nwlvs proc /proc/net/ip_vs_stats\nwlvs proc ip_vs_conn --socket /run/other.sock");
}
