/** `wlvs save`: the running services as a configuration. */
import { chownSync, readFileSync, realpathSync, renameSync, statSync, writeFileSync } from "node:fs";
import type { Command } from "commander";
import { WLVS_SETTINGS } from "../../config/config.js";
import { loadRunConfig } from "../../config/load.js";
import { runningTuning, tuningOf } from "../../config/tuning.js";
import { mergeServices, servicesText } from "../../config/write.js";
import type { RemoteIpvs } from "../../control/client.js";
import { fileReason, LvsError, oneLine, usage } from "../../errors.js";
import { IpvsError } from "../../ipvs/model.js";
import { formatRules } from "../../ipvs/save.js";
import type { CliContext } from "../context.js";
import { fileSources } from "../file-sources.js";
import { examples } from "../help.js";
import { put } from "../put.js";

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
        for (const text of formatRules(services, undefined, { complete: true })) await put(context.stdout, text);
        return;
      }
      const runs = runningTuning(await director.timeouts(), await director.settings());
      if (file === undefined) {
        const { profile } = await director.status();
        const usual = tuningOf({ settings: profile === "wlvs" ? WLVS_SETTINGS : [] });
        context.stdout.write(servicesText(services, runs, usual));
      } else {
        const config = await loadRunConfig([["config", file]], fileSources(context));
        const said = tuningOf(config);
        const { text, changes } = mergeServices(file, read(file), services, { said, runs });
        if (changes.length > 0) replace(file, text);
        for (const change of changes) context.stdout.write(`${change}\n`);
        if (changes.length === 0) context.stdout.write(`${file} says what is running\n`);
        else if (config.watch !== false) await readAgain(director, file);
      }
    });
  examples(command, "wlvs save /etc/wlvs.yaml\nwlvs save >services.yaml\nwlvs save --rules >ipvsadm.rules");
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `${file}: ${fileReason(error)}`, error);
  }
}

/**
 * The running director would read its own file by itself, but a moment later: what was changed between the two would be
 * undone by it.
 */
async function readAgain(director: RemoteIpvs, file: string): Promise<void> {
  const running = (await director.configuration()).file;
  if (running === undefined || !isSame(running, file)) return;
  try {
    await director.reload();
  } catch (error) {
    if (!(error instanceof IpvsError)) throw error;
    throw new LvsError(
      "ERR_LVS_DIRECTOR",
      `${file} is written; the director does not take it: ${oneLine(error)}`,
      error,
    );
  }
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => statSync(path, { throwIfNoEntry: false }));
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

/** Whoever reads the file meanwhile sees the old or the new one. */
function replace(file: string, text: string): void {
  try {
    // A link goes on leading to it.
    const path = realpathSync(file);
    const fresh = `${path}.new`;
    const { mode, uid, gid } = statSync(path);
    writeFileSync(fresh, text, { mode });
    if (process.getuid?.() === 0) chownSync(fresh, uid, gid);
    renameSync(fresh, path);
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `cannot write ${file}: ${fileReason(error, "directory")}`, error);
  }
}
