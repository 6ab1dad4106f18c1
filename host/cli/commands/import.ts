/** `wlvs import`: another balancer's configuration as one of wlvs. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { fileReason, LvsError, usage } from "../../errors.js";
import { importKeepalived } from "../../import/keepalived.js";
import type { CliContext } from "../context.js";
import { counted } from "../format.js";
import { examples } from "../help.js";

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("import")
    .summary("make a configuration of another balancer's")
    .description(
      "Reads a keepalived.conf and writes its virtual servers, with their checks, as a configuration to standard output.\n" +
        "What is left out is listed on standard error, each with its line and why.",
    )
    .argument("<file>", "keepalived.conf")
    .action((file: string) => {
      let source: string;
      try {
        source = readFileSync(file, "utf8");
      } catch (error) {
        throw new LvsError("ERR_LVS_FILE", `${file}: ${fileReason(error)}`, error);
      }
      if (source.includes("\0")) throw usage(`import ${file}: it is no text file`);
      const { text, leftOut, services } = importKeepalived(source, file);
      for (const { line, end, text: what } of leftOut) {
        const lines = end === undefined ? `${line}` : `${line}-${end}`;
        context.stderr.write(`${file}:${lines}: left out: ${what}\n`);
      }
      context.stderr.write(`${counted(services, "service")}, ${leftOut.length} left out\n`);
      context.stdout.write(text);
    });
  examples(command, "wlvs import /etc/keepalived/keepalived.conf >wlvs.yaml && wlvs check wlvs.yaml");
}
