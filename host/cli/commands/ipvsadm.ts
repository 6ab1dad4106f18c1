/** `wlvs ipvsadm ...`: what `wlvsadm` is, for whom it is handier. Its words are ipvsadm's, so no help of ours. */
import { runIpvsadm } from "../../ipvs/command.js";
import type { CliContext } from "../context.js";
import { put } from "../put.js";

/** Resolves with ipvsadm's exit status. */
export async function runWlvsadm(argv: readonly string[], context: CliContext): Promise<number> {
  return runIpvsadm(argv, () => context.director(), {
    stdin: async () => {
      let text = "";
      for await (const chunk of context.stdin)
        text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
      return text;
    },
    stdout: (text) => put(context.stdout, text),
    stderr: (text) => void context.stderr.write(text),
  });
}
