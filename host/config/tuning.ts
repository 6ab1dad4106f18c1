/** What a configuration says beside services: timeouts, and settings by their names. */
import { DEFAULT_TIMEOUTS, parseSetting, SETTING_DEFAULTS, SETTING_NAMES, settingIds } from "../core/settings.js";
import type { Timeouts } from "../ipvs/model.js";

export interface Tuning {
  readonly timeouts: Timeouts;
  /** Every setting, as numbers with spaces between. */
  readonly settings: Readonly<Record<string, string>>;
}

interface Said {
  readonly timeouts?: Timeouts | undefined;
  readonly settings: ReadonlyArray<readonly [string, string]>;
}

/** What runs with a configuration. What is not said, or a timeout of 0, is the kernel's. */
export function tuningOf({ timeouts, settings }: Said): Tuning {
  const { tcp, tcpFin, udp } = DEFAULT_TIMEOUTS;
  const values = new Map(SETTING_DEFAULTS);
  for (const [name, text] of settings) for (const [id, value] of parseSetting(name, text)) values.set(id, value);
  return {
    timeouts: { tcp: timeouts?.tcp || tcp, tcpFin: timeouts?.tcpFin || tcpFin, udp: timeouts?.udp || udp },
    settings: Object.fromEntries(
      SETTING_NAMES.map((name) => [
        name,
        settingIds(name)
          .map((id) => `${values.get(id) ?? 0}`)
          .join(" "),
      ]),
    ),
  };
}

/** What runs, as a director tells it. */
export function runningTuning(timeouts: Timeouts, settings: Readonly<Record<string, number | string>>): Tuning {
  return {
    timeouts,
    settings: Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, `${value}`])),
  };
}

/** The settings that differ, with the values that they are to have. */
export function settingChanges(from: Tuning, to: Tuning): Array<readonly [name: string, value: string]> {
  return Object.entries(to.settings).filter(([name, value]) => from.settings[name] !== value);
}

export function sameTimeouts(a: Timeouts, b: Timeouts): boolean {
  return a.tcp === b.tcp && a.tcpFin === b.tcpFin && a.udp === b.udp;
}

/** What would make `to` of `from`, as one writes it. */
export function tuningTexts(from: Tuning, to: Tuning): string[] {
  const { tcp, tcpFin, udp } = to.timeouts;
  return [
    ...(sameTimeouts(from.timeouts, to.timeouts) ? [] : [`--set ${tcp} ${tcpFin} ${udp}`]),
    ...settingChanges(from, to).map(([name, value]) => settingText(name, value)),
  ];
}

/** `name` as SETTING_NAMES has it. */
export function settingText(name: string, value: string): string {
  return `net.ipv4.vs.${name}=${value}`;
}
