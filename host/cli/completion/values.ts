/** What may stand for a value on the command line. */
import { TEST_NAMES } from "../../bench/peers-bench.js";
import { SCHEDULER_IDS } from "../../core/control.js";
import { PROC_FILES } from "../../ipvs/proc.js";
import { LOG_LEVELS } from "../../log.js";
import type { ArgumentModel, OptionModel } from "../model.js";

/** Words; a file, a directory, a user or a group of the machine; what `wlvs completion --list` prints; or anything. */
export type Values =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "file" | "directory" | "user" | "group" | "any" }
  | { readonly kind: "list"; readonly list: ListName };

/** Kinds of names that are asked for while somebody types. */
export const LISTS = ["tcp-services", "udp-services", "sctp-services", "marks", "servers", "addresses"] as const;
export type ListName = (typeof LISTS)[number];

export const SHELLS = ["bash", "zsh", "fish"] as const;

const words = (...list: readonly string[]): Values => ({ kind: "words", words: list });
const list = (name: ListName): Values => ({ kind: "list", list: name });

const OF_OPTIONS: Readonly<Record<string, Values>> = {
  "--scheduler": words(...Object.keys(SCHEDULER_IDS)),
  "--mode": words("nat", "dr", "tun", "fullnat"),
  "--profile": words("kernel", "wlvs"),
  "--io": words("auto", "uring", "rw"),
  "--log-level": words(...LOG_LEVELS),
  "--syn-proxy": words("auto", "on", "off"),
  "--server": words("builtin", "nginx"),
  "--only": words(...TEST_NAMES),
  "--list": words(...LISTS),
  "--for": words("wlvs", "wlvsadm"),
  "--user": { kind: "user" },
  "--socket-group": { kind: "group" },
  "--tcp-service": list("tcp-services"),
  "--udp-service": list("udp-services"),
  "--sctp-service": list("sctp-services"),
  "--fwmark-service": list("marks"),
  "--real-server": list("servers"),
  "--pe": words("sip"),
  "--tun-type": words("ipip", "gue", "gre"),
  "--sched-flags": words("sh-fallback", "sh-port", "mh-fallback", "mh-port", "flag-1", "flag-2", "flag-3"),
  "--start-daemon": words("master", "backup"),
  "--stop-daemon": words("master", "backup"),
};

const OF_ARGUMENTS: Readonly<Record<string, Values>> = {
  "lab method": words("nat", "dr", "tun"),
  "realserver method": words("dr", "tun"),
  "proc file": words(...PROC_FILES),
  "drain rip": list("addresses"),
  "completion shell": words(...SHELLS),
};

function byName(name: string): Values {
  if (/\b(file|path)\b/.test(name)) return { kind: "file" };
  if (/\bdir/.test(name)) return { kind: "directory" };
  return { kind: "any" };
}

/** undefined for an option without a value. */
export function valuesOf(option: OptionModel): Values | undefined {
  if (option.value === undefined) return undefined;
  return OF_OPTIONS[option.long] ?? byName(option.value);
}

export function valuesOfArgument(command: string, argument: ArgumentModel): Values {
  return OF_ARGUMENTS[`${command} ${argument.name}`] ?? byName(argument.name);
}

/** Whether the value must follow: one in square brackets may be left out. */
export function takesWord(option: OptionModel): boolean {
  return option.value?.startsWith("<") ?? false;
}
