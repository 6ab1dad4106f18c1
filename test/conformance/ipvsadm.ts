/** Plain ipvsadm commands of a trace, in this process. */
import { runIpvsadm } from "../../host/ipvs/command.js";
import type { Ipvs } from "../../host/ipvs/model.js";
import { FileNames } from "../../host/ipvs/names.js";
import type { Outcome } from "./shell.js";

/** The traced machine had no resolver: names are those of the files. */
const names = new FileNames();
/** The scripts beside ipvsadm are one option each. */
const SCRIPTS: Readonly<Record<string, readonly string[]>> = { "ipvsadm-save": ["-S"], "ipvsadm-restore": ["-R"] };

export async function ipvsadm(words: readonly string[], ipvs: Ipvs, stdin: string): Promise<Outcome> {
  const [program = "ipvsadm", ...rest] = words;
  let stdout = "";
  let stderr = "";
  const status = await runIpvsadm([...(SCRIPTS[program] ?? []), ...rest], ipvs, {
    stdin: async () => stdin,
    stdout: (text) => {
      stdout += text;
    },
    stderr: (text) => {
      stderr += text;
    },
    program: "ipvsadm",
    names,
  });
  return { status, stdout, stderr };
}
