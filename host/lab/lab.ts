/** One lab from the first namespace to the last: whatever happens in between, it is taken away again. */
import { setTimeout } from "node:timers/promises";
import { directLab } from "./direct.js";
import { Exercise, type LabOptions } from "./exercise.js";
import { natLab } from "./nat.js";
import { LabNetwork } from "./network.js";

export type LabKind = "nat" | "dr" | "tun";
/** So long after a failure a signal may still arrive that is its cause. */
const SIGNAL_MS = 50;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Resolves with the exit status: 0 only if all went as the scheduler says. */
export async function runLab(kind: LabKind, options: LabOptions, print: (text: string) => void): Promise<number> {
  const network = new LabNetwork();
  let kept: (() => void) | undefined;
  const enough = new Promise<void>((resolve) => (kept = resolve));
  let onSignal: (signal: NodeJS.Signals) => void = () => {};
  const interrupted = new Promise<NodeJS.Signals>((resolve) => (onSignal = resolve));
  for (const signal of SIGNALS) process.on(signal, onSignal);
  const lastMoment = () => network.remove();
  process.once("exit", lastMoment);
  try {
    const lab = new Exercise(network, options, { print, enough });
    const exercise = kind === "nat" ? natLab(lab) : directLab(lab, kind);
    // Once interrupted, what the rest of the exercise stumbles over interests nobody.
    exercise.catch(() => {});
    // A signal of the terminal's ends the program that the exercise is running, too, and that is seen first.
    const failed = exercise.catch((error) =>
      Promise.race([interrupted, setTimeout(SIGNAL_MS).then(() => Promise.reject(error))]),
    );
    const signal = await Promise.race([failed, interrupted]);
    if (typeof signal === "string" && !(options.keep && lab.isKept)) {
      print(`\n${signal}: the lab is taken away\n`);
      return signal === "SIGINT" ? 130 : 143;
    }
    if (!lab.asExpected) {
      print("NOT everything went as it should.\n");
      if (lab.log() !== "") print(`The director's log:\n${lab.log()}\n`);
    }
    return lab.asExpected ? 0 : 1;
  } finally {
    kept?.();
    await network.close();
    process.off("exit", lastMoment);
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}
