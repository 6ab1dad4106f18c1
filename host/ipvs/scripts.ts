/** ipvsadm-save and ipvsadm-restore: few words around --save and --restore. */
import { type IpvsadmIo, runIpvsadm } from "./command.js";
import type { Ipvs } from "./model.js";

type Director = Ipvs | (() => Promise<Ipvs>);

/** Prints the rules; -n: addresses and ports as numbers. Words without a dash say nothing. */
export async function runSave(words: readonly string[], ipvs: Director, io: IpvsadmIo): Promise<number> {
  if (words.some((word) => word.startsWith("-") && word !== "-n")) {
    io.stderr(`${io.program ?? "ipvsadm-save"}: prints the rules to stdout.\n  -n: addresses and ports as numbers\n`);
    return 1;
  }
  return runIpvsadm(words.includes("-n") ? ["-S", "-n"] : ["-S"], ipvs, io);
}

/** Removes all rules, then reads new ones; lines that begin with # are comments. Words say nothing, but for help. */
export async function runRestore(words: readonly string[], ipvs: Director, io: IpvsadmIo): Promise<number> {
  if (words.includes("-h") || words.includes("--help")) {
    io.stdout(`${io.program ?? "ipvsadm-restore"}: replaces all rules by those of stdin.\n`);
    return 0;
  }
  const lines = (await io.stdin()).split("\n").filter((line) => !line.startsWith("#"));
  const cleared = await runIpvsadm(["-C"], ipvs, io);
  // Where nothing could be removed, nothing can be added.
  if (cleared !== 0) return cleared;
  return runIpvsadm(["-R"], ipvs, { ...io, stdin: async () => lines.join("\n") });
}
