/** Plain ipvsadm commands of a trace, in this process. */
import { runIpvsadm } from "../../host/ipvs/command.js";
import type { Ipvs } from "../../host/ipvs/model.js";
import { FileNames } from "../../host/ipvs/names.js";
import { runRestore, runSave } from "../../host/ipvs/scripts.js";
import type { Outcome } from "./shell.js";

/** The traced machine had no resolver: names are those of the files. */
const names = new FileNames();
const PROGRAMS: Readonly<Record<string, typeof runIpvsadm>> = {
  ipvsadm: runIpvsadm,
  "ipvsadm-save": runSave,
  "ipvsadm-restore": runRestore,
};

export async function ipvsadm(words: readonly string[], ipvs: Ipvs, stdin: string): Promise<Outcome> {
  const [program = "ipvsadm", ...rest] = words;
  let stdout = "";
  let stderr = "";
  const status = await PROGRAMS[program]!(rest, ipvs, {
    stdin: async () => stdin,
    stdout: (text) => {
      stdout += text;
    },
    stderr: (text) => {
      stderr += text;
    },
    program,
    names,
  });
  return { status, stdout, stderr };
}
