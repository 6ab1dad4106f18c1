/** A configuration for a director that runs with another: a real core, no devices. */
import { describe, expect, it } from "vitest";
import { type RunConfig, WLVS_SETTINGS } from "../../host/config/config.js";
import { parseRunOptions, type Token } from "../../host/config/options.js";
import { runningTuning, tuningOf } from "../../host/config/tuning.js";
import { SETTING_NAMES, settingIds } from "../../host/core/settings.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { Failover } from "../../host/health/failover.js";
import { type Applied, applyConfig } from "../../host/keeper/reload.js";
import { createLog } from "../../host/log.js";
import { Marks } from "../../host/marks/marks.js";
import { createDirector, NET } from "../support/director.js";

const PORTS: readonly Token[] = [
  ["tap", `ext,ip=${NET.ext.ip}/24`],
  ["tap", `int,ip=${NET.int.ip}/24`],
];

function config(...tokens: Token[]): Promise<RunConfig> {
  const marks = async (file: string) => ({ file, text: file });
  return parseRunOptions([...PORTS, ...tokens], { env: {}, rules: async () => [], marks });
}

interface Setup {
  readonly engine: MemoryEngine;
  readonly marks: Marks;
  apply(before: RunConfig, after: RunConfig): Promise<Applied>;
}

function setup(): Setup {
  const engine = createDirector({ routes: [] });
  const marks = new Marks(engine.control, ["ext", "int"]);
  const failover = new Failover(engine.ipvs, createLog("silent", "test"));
  for (const [name, value] of Object.entries(tuningOf({ settings: WLVS_SETTINGS }).settings)) {
    engine.control.setting(name, value);
  }
  const settings = () =>
    Object.fromEntries(
      SETTING_NAMES.map((name) => [
        name,
        settingIds(name)
          .map((id) => engine.ipvs.tables.setting(id))
          .join(" "),
      ]),
    );
  const tuning = async () => runningTuning(await engine.ipvs.timeouts(), settings());
  const place = { control: engine.control, ipvs: engine.ipvs, failover, marks, tuning };
  return { engine, marks, apply: (before, after) => applyConfig(place, before, after) };
}

const RULES = "add table ip m; add chain ip m c; add rule ip m c tcp dport 80 meta mark set 7";
const WEB: Token[] = [
  ["vip", `${NET.vip}:80`],
  ["rip", NET.servers[0].ip],
];

describe("another configuration", () => {
  it("undoes timeouts and settings that were changed by hand", async () => {
    const { engine, apply } = setup();
    const said = await config(...WEB, ["set", "sync_threshold=4 60"]);
    engine.control.setting("sync_threshold", "4 60");
    engine.control.setting("drop_packet", "1");
    engine.control.setting("sync_threshold", "5 70");
    await engine.ipvs.setTimeouts({ tcp: 100, tcpFin: 10, udp: 20 });
    const { changes } = await apply(said, said);
    const undone = changes.filter((change) => /drop_packet|sync_threshold|timeouts/.test(change));
    expect(undone.toSorted()).toEqual(["net.ipv4.vs.drop_packet=0", "net.ipv4.vs.sync_threshold=4 60", "timeouts"]);
    expect(await engine.ipvs.timeouts()).toEqual({ tcp: 900, tcpFin: 120, udp: 300 });
    expect(engine.ipvs.tables.setting(settingIds("sync_threshold")[1]!)).toBe(60);
    expect((await apply(said, said)).changes).toEqual([]);
  });

  it("is applied whole, and undone when it is taken back", async () => {
    const { engine, marks, apply } = setup();
    const before = await config();
    const after = await config(
      ...WEB,
      ["set", "drop_entry=1"],
      ["route", "10.9.0.0/16,via=192.168.4.9"],
      ["marks", RULES],
    );
    const timed = { ...after, timeouts: { tcp: 600, tcpFin: 0, udp: 0 } };
    const { changes, steps, restart } = await apply(before, timed);
    expect(steps).toHaveLength(2);
    expect(changes).toEqual(["net.ipv4.vs.drop_entry=1", "route 10.9.0.0/16 added", "firewall marks", "timeouts"]);
    expect(restart).toEqual([]);
    expect(marks.count()).toBe(1);
    expect(await engine.ipvs.timeouts()).toEqual({ tcp: 600, tcpFin: 120, udp: 300 });

    await apply(timed, before);
    expect(await engine.ipvs.services()).toEqual([]);
    expect(marks.count()).toBe(0);
    expect(await engine.ipvs.timeouts()).toEqual({ tcp: 900, tcpFin: 120, udp: 300 });
  });

  it("changes nothing when the core refuses one thing of it", async () => {
    const { engine, marks, apply } = setup();
    const before = await config(["marks", RULES]);
    await apply(await config(), before);
    const drop = () => engine.ipvs.tables.setting(settingIds("drop_entry")[0]!);
    const was = drop();
    // What the file says is sound with the ports that it names; those that run are others.
    const after = await config(
      ["tap", "more,ip=172.16.0.1/24"],
      ...WEB,
      ["set", "drop_entry=1"],
      ["route", "10.8.0.0/16,via=192.168.4.9"],
      ["route", "10.9.0.0/16,via=172.16.0.9"],
      ["marks", "add table ip m; add chain ip m c; add rule ip m c tcp dport 81 meta mark set 8"],
    );
    await expect(apply(before, after)).rejects.toThrow(
      /^route 10\.9\.0\.0\/16: .*\(the ports that the file has now wait for a restart\)$/,
    );
    expect(await engine.ipvs.services()).toEqual([]);
    expect(marks.text()).toContain("dport 80");
    expect(drop()).toBe(was);
    // The route before it is gone again: it can be made anew.
    const fine = await config(["route", "10.8.0.0/16,via=192.168.4.9"], ["marks", RULES]);
    expect((await apply(before, fine)).changes).toEqual(["route 10.8.0.0/16 added"]);

    const wrong = await config(["marks", "add rule ip m c nonsense"]);
    await expect(apply(before, { ...wrong, steps: after.steps })).rejects.toThrow(
      /^firewall marks: mark rules, line 1/,
    );
    expect(await engine.ipvs.services()).toEqual([]);
  });

  it("keeps what waits for a restart as it runs, and says so until it is restarted", async () => {
    const { apply } = setup();
    const before = await config();
    const after = {
      ...(await config(["workers", "2"], ["state", "/tmp/state"])),
      ports: before.ports.slice(1),
      watch: false,
    };
    const { config: running, restart } = await apply(before, after);
    expect(restart).toEqual(["ports", "workers", "state", "watch"]);
    expect(running).toMatchObject({ ports: before.ports, workers: 1 });
    expect(running.state).toBeUndefined();
    expect((await apply(running, after)).restart).toEqual(restart);
    expect((await apply(running, before)).restart).toEqual([]);
  });
});
