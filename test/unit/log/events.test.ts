/** Every line of the log has an event, and docs/logs.md has every event with its level and its fields. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../../..");
const STANDARD = ["level", "time", "part", "pid", "event", "msg"];

interface Call {
  readonly place: string;
  readonly level: string;
  readonly event: string | undefined;
  readonly fields: readonly string[];
}

/** All calls of a log in a source; arguments are found by their brackets, whatever lines they take. */
function callsIn(file: string, source: string): Call[] {
  return [...source.matchAll(/\blog\??\.(trace|debug|info|warn|error|fatal)\(/g)].map((match) => {
    const from = match.index + match[0].length;
    const line = source.slice(0, from).split("\n").length;
    const object = /^\s*\{([^{}]*)\}/.exec(source.slice(from))?.[1] ?? "";
    const event = /\bevent: "([^"]+)"/.exec(object)?.[1];
    const fields = object.split(",").map((part) => part.split(":")[0]!.trim());
    return {
      place: `${file}:${line}`,
      level: match[1]!,
      event,
      fields: fields.filter((name) => name !== "" && name !== "event"),
    };
  });
}

const calls = readdirSync(join(ROOT, "host"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .flatMap((name) => callsIn(name, readFileSync(join(ROOT, "host", name), "utf8")));

describe("the log", () => {
  it("is found in the sources, in all shapes", () => {
    expect(calls.length).toBeGreaterThan(30);
    const shapes = 'this.log.warn({ event: "a.b", port, took: n.ms }, "x");\nlog?.error(\n  `y`,\n);';
    expect(callsIn("x.ts", shapes)).toEqual([
      { place: "x.ts:1", level: "warn", event: "a.b", fields: ["port", "took"] },
      { place: "x.ts:2", level: "error", event: undefined, fields: [] },
    ]);
  });

  it("names every event", () => {
    expect(calls.filter(({ event }) => event === undefined).map(({ place }) => place)).toEqual([]);
    for (const { event, place } of calls) expect(event, place).toMatch(/^[a-z]+\.[a-z]+(-[a-z]+)*$/);
  });

  it("is documented: each event once, with its level and its fields", () => {
    const page = readFileSync(join(ROOT, "docs/logs.md"), "utf8");
    const rows = [...page.matchAll(/^\| `([a-z.-]+)` \| (\w+) \| ([^|]*?) ?\|/gm)].map(([, event, level, fields]) => ({
      event: event!,
      level: level!,
      fields: fields!.split(",").flatMap((name) => name.trim() || []),
    }));
    expect(rows.map(({ event }) => event)).toEqual([...new Set(calls.map(({ event }) => event))].toSorted());
    for (const { event, level, fields, place } of calls) {
      const row = rows.find((one) => one.event === event)!;
      expect(row.level, `${place} ${event}`).toBe(level);
      for (const field of fields) {
        expect([...row.fields, ...STANDARD], `${place} ${event}`).toContain(field);
      }
    }
    for (const { event, fields } of rows) {
      const used = new Set(calls.filter((call) => call.event === event).flatMap((call) => call.fields));
      expect(fields.toSorted(), event).toEqual([...used].toSorted());
    }
  });
});
