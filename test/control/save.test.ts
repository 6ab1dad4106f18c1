/** `wlvs save FILE` where FILE is what a running director was configured with, and where it is not. */
import { lstatSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { diffTables, tablesOf } from "../../host/config/diff.js";
import { parseConfigFile } from "../../host/config/file.js";
import { RemoteIpvs } from "../../host/control/client.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import { IpvsError } from "../../host/ipvs/model.js";
import { cli } from "../support/cli.js";
import { FakeInfo, FakeIpvs } from "./fake.js";

const TEXT = "services:\n  - vip: 192.0.2.1:80\n    servers:\n      - {rip: 192.0.2.2:80, weight: 1}\n";

class Info extends FakeInfo {
  running = tablesOf(parseConfigFile("f", TEXT.replace("weight: 1", "weight: 5")).steps.map(({ step }) => step));
  file: string | undefined;
  refuses = false;
  /** What the file held each time that it was read again. */
  readonly reads: string[] = [];

  override tables() {
    return Promise.resolve(this.running as never);
  }
  override configuration() {
    return Promise.resolve({ file: this.file!, read: new Date().toISOString(), drift: [] });
  }
  override reload() {
    if (this.refuses) return Promise.reject(new IpvsError("EINVAL", 22, "the second line\nis wrong"));
    this.reads.push(readFileSync(this.file!, "utf8"));
    return Promise.resolve({ changes: [], restart: [] });
  }
}

let directory: string;
let file: string;
let info: Info;
let server: ControlServer;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  file = join(directory, "wlvs.yaml");
  writeFileSync(file, TEXT, { mode: 0o640 });
  info = new Info();
  info.file = file;
  server = await createControlServer({ ipvs: new FakeIpvs(), info, socketPath: join(directory, "wlvs.sock") });
});

afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

function save(name: string) {
  return cli(["save", name], async () => new RemoteIpvs(join(directory, "wlvs.sock")));
}

it("has the director read it at once: nothing that is changed afterwards is undone", async () => {
  const { status, out } = await save(file);
  expect([status, out]).toEqual([0, "-e -t 192.0.2.1:80 -r 192.0.2.2:80 -m -w 5\n"]);
  const written = readFileSync(file, "utf8");
  expect(written).toBe(TEXT.replace("weight: 1", "weight: 5"));
  expect(diffTables(tablesOf(parseConfigFile("f", written).steps.map(({ step }) => step)), info.running)).toEqual([]);
  expect(info.reads).toEqual([written]);
  expect((await save(file)).out).toBe(`${file} says what is running\n`);
  expect(info.reads).toHaveLength(1);
});

it("leaves the director alone where its file is another one, there is none, or nobody is to read it", async () => {
  for (const [running, text] of [
    [join(directory, "other.yaml"), TEXT],
    [undefined, TEXT],
    [file, `watch: false\n${TEXT}`],
  ] as const) {
    info.file = running;
    writeFileSync(file, text);
    expect((await save(file)).status).toBe(0);
    expect(readFileSync(file, "utf8")).toContain("weight: 5");
  }
  expect(info.reads).toEqual([]);
});

it("goes by a link, which stays one, and keeps the mode", async () => {
  const link = join(directory, "link.yaml");
  symlinkSync(file, link);
  expect((await save(link)).status).toBe(0);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(statSync(file).mode & 0o777).toBe(0o640);
  expect(readFileSync(file, "utf8")).toContain("weight: 5");
  expect(info.reads).toHaveLength(1);
});

it("says so when the director does not take what was written", async () => {
  info.refuses = true;
  const { status, err } = await save(file);
  expect([status, err]).toEqual([1, `wlvs: ${file} is written; the director does not take it: the second line\n`]);
  expect(readFileSync(file, "utf8")).toContain("weight: 5");
});
