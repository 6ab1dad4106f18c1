/** Files that are read again when they change, however they are written. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FileWatch } from "../../../host/keeper/watch.js";
import { SILENT } from "../../support/state.js";

let directory: string;
let seen: Array<ReadonlyArray<string | undefined>>;
let watch: FileWatch | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-watch-"));
  mkdirSync(join(directory, "etc"));
  seen = [];
});
afterEach(() => {
  watch?.close();
  rmSync(directory, { recursive: true, force: true });
});

const at = (name: string) => join(directory, "etc", name);

function start(...names: string[]): void {
  watch = new FileWatch(
    names.map((name) => at(name)),
    SILENT,
    (texts) => seen.push(texts),
  );
}

async function told(...texts: Array<string | undefined>): Promise<void> {
  await expect.poll(() => seen.at(-1), { timeout: 20_000, interval: 20 }).toEqual(texts);
}

describe("a watched file", () => {
  it("is told of when it is written in place, renamed over, removed and made again", async () => {
    writeFileSync(at("a"), "one");
    start("a");
    writeFileSync(at("a"), "two");
    await told("two");
    writeFileSync(at(".a.swp"), "three");
    renameSync(at(".a.swp"), at("a"));
    await told("three");
    rmSync(at("a"));
    await told(undefined);
    writeFileSync(at("a"), "four");
    await told("four");
  });

  it("is told of when a link leads elsewhere", async () => {
    for (const version of ["1", "2"]) {
      mkdirSync(at(version));
      writeFileSync(at(`${version}/a`), `version ${version}`);
    }
    symlinkSync("1", at("data"));
    symlinkSync("data/a", at("a"));
    start("a");
    symlinkSync("2", at("data.new"));
    renameSync(at("data.new"), at("data"));
    await told("version 2");
  });

  it("is found again when its folder was removed and made again", async () => {
    writeFileSync(at("a"), "one");
    start("a");
    rmSync(join(directory, "etc"), { recursive: true });
    await told(undefined);
    mkdirSync(join(directory, "etc"));
    writeFileSync(at("a"), "two");
    await told("two");
    writeFileSync(at("a"), "three");
    await told("three");
  });

  it("is not read half-written, though the folder of another is not there", async () => {
    writeFileSync(at("a"), "one");
    mkdirSync(at("gone"));
    writeFileSync(at("gone/marks"), "m");
    start("a", "gone/marks");
    rmSync(at("gone"), { recursive: true });
    await told("one", undefined);
    writeFileSync(at("a"), "half");
    await new Promise((resolve) => setTimeout(resolve, 40));
    writeFileSync(at("a"), "whole");
    await told("whole", undefined);
    expect(seen.map(([text]) => text)).not.toContain("half");
  });

  it("is one of several", async () => {
    writeFileSync(at("a"), "one");
    writeFileSync(at("marks"), "none");
    start("a", "marks");
    writeFileSync(at("marks"), "some");
    await told("one", "some");
  });

  it("is not told of when what it holds was read already, or is the same", async () => {
    writeFileSync(at("a"), "one");
    writeFileSync(at("b"), "b");
    start("a", "b");
    writeFileSync(at("a"), "two");
    watch!.refresh();
    writeFileSync(at("b"), "b");
    await new Promise((resolve) => setTimeout(resolve, 600));
    writeFileSync(at("b"), "c");
    await told("two", "c");
    expect(seen).toEqual([["two", "c"]]);
  });
});
