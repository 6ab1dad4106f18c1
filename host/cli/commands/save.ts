/** `wlvs save`: the running services as a configuration. */
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import type { Command } from "commander";
import { WLVS_SETTINGS } from "../../config/config.js";
import { loadRunConfig } from "../../config/load.js";
import { runningTuning, tuningOf } from "../../config/tuning.js";
import { mergeServices, servicesText } from "../../config/write.js";
import { LvsError, usage } from "../../errors.js";
import { formatRules } from "../../ipvs/save.js";
import type { CliContext } from "../context.js";
import { fileSources } from "../file-sources.js";
import { examples } from "../help.js";

interface Options {
  readonly socket?: string;
  readonly rules?: boolean;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("save")
    .summary("write the running tables as a configuration")
    .description(
      "Writes the running services to standard output, or into a configuration file that is there: what was changed while\n" +
        "the director ran is changed in the file too, and everything else in it stays, checks and comments included.\n" +
        "Servers that are out because they are down count as they are when they are up.",
    )
    .argument("[file]", "a configuration file to bring up to date")
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .option("--rules", "as ipvsadm-save -n does, with thresholds; for --rules and ipvsadm-restore")
    .action(async (file: string | undefined, options: Options) => {
      if (options.rules && file !== undefined) throw usage("save: --rules goes to standard output");
      const director = await context.director(options.socket);
      const services = await director.tables();
      if (options.rules) {
        context.stdout.write(formatRules(services, undefined, { complete: true }));
        return;
      }
      const runs = runningTuning(await director.timeouts(), await director.settings());
      if (file === undefined) {
        const { profile } = await director.status();
        const usual = tuningOf({ settings: profile === "wlvs" ? WLVS_SETTINGS : [] });
        context.stdout.write(servicesText(services, runs, usual));
      } else {
        const said = tuningOf(await loadRunConfig([["config", file]], fileSources(context)));
        const { text, changes } = mergeServices(file, read(file), services, { said, runs });
        if (changes.length > 0) replace(file, text);
        for (const change of changes) context.stdout.write(`${change}\n`);
        if (changes.length === 0) context.stdout.write(`${file} says what is running\n`);
      }
    });
  examples(command, "wlvs save /etc/wlvs.yaml\nwlvs save >services.yaml\nwlvs save --rules >ipvsadm.rules");
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `${file}: ${(error as Error).message}`, error);
  }
}

/** Whoever reads the file meanwhile sees the old or the new one. */
function replace(file: string, text: string): void {
  const fresh = `${file}.new`;
  try {
    writeFileSync(fresh, text, { mode: statSync(file).mode });
    renameSync(fresh, file);
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `cannot write ${file}: ${(error as Error).message}`, error);
  }
}
