/** `wlvs check`: whether a configuration file is right, and what it would change. */
import type { Command } from "commander";
import { diffTables, stepText, tablesOf } from "../../config/diff.js";
import { loadRunConfig } from "../../config/load.js";
import { jsonSchema } from "../../config/schema.js";
import { runningTuning, tuningOf, tuningTexts } from "../../config/tuning.js";
import { LvsError, usage } from "../../errors.js";
import type { CliContext } from "../context.js";
import { fileSources } from "../file-sources.js";
import { counted } from "../format.js";
import { examples } from "../help.js";

interface Options {
  readonly socket?: string;
  readonly schema?: boolean;
  readonly json?: boolean;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("check")
    .summary("check a configuration file")
    .description(
      "Says what is wrong in a configuration file, each mistake with its line, or that nothing is; and, when a director\n" +
        "runs, what 'wlvs reload' with this file would change, as command lines of ipvsadm.",
    )
    .argument("[file]", "the file")
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .option("--schema", "print the JSON Schema of the file instead, for editors")
    .option("--json", "the changes as JSON")
    .action(async (file: string | undefined, options: Options) => {
      if (options.schema) {
        context.stdout.write(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
        return;
      }
      if (file === undefined) throw usage("check: name the file");
      context.exitStatus = await check(file, options, context);
    });
  examples(command, "wlvs check /etc/wlvs.yaml\nwlvs check --schema >wlvs.schema.json");
}

async function check(file: string, options: Options, context: CliContext): Promise<number> {
  const config = await loadRunConfig([["config", file]], fileSources(context)).catch((error: unknown) => {
    if (!(error instanceof LvsError) || error.code !== "ERR_LVS_USAGE") throw error;
    // All of it, a line each.
    context.stderr.write(`${error.message}\n`);
    return undefined;
  });
  if (config === undefined) return 2;
  for (const warning of config.warnings) context.stderr.write(`warning: ${warning}\n`);
  if (config.ports.length === 0) {
    context.stderr.write("warning: no ports: 'wlvs run' needs some, as ports: here or as flags beside --config\n");
  }
  const tables = tablesOf(config.steps.map(({ step }) => step));
  const servers = tables.reduce((sum, table) => sum + table.servers.length, 0);
  const checked = (config.health ?? []).reduce((sum, service) => sum + service.servers.length, 0);
  const counts = [
    counted(config.ports.length, "port"),
    counted(tables.length, "service"),
    counted(servers, "real server"),
    `${checked} of them checked`,
  ].join(", ");
  const director = await context.director(options.socket);
  const running = await Promise.all([director.tables(), director.timeouts(), director.settings()]).catch(
    (error: unknown) => {
      if (options.socket !== undefined || !(error instanceof LvsError)) throw error;
      return undefined;
    },
  );
  const steps = running === undefined ? undefined : diffTables(running[0], tables);
  const tuning = running === undefined ? [] : tuningTexts(runningTuning(running[1], running[2]), tuningOf(config));
  if (options.json) {
    context.stdout.write(`${JSON.stringify({ file, steps: steps ?? null, tuning }, null, 2)}\n`);
    return 0;
  }
  context.stdout.write(`${file} is right: ${counts}\n`);
  if (steps === undefined) context.stdout.write("no director is running that it could be compared with\n");
  else if (steps.length + tuning.length === 0) context.stdout.write("the running director has these services\n");
  else {
    context.stdout.write(`the running director differs; a reload would do:\n`);
    for (const text of [...steps.map(stepText), ...tuning]) context.stdout.write(`  ${text}\n`);
  }
  return 0;
}
