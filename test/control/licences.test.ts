/** docs/dependencies.md, beside what is really installed to run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

interface Locked {
  readonly version: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
}

const lock = JSON.parse(read("package-lock.json")) as { packages: Record<string, Locked> };
const running = Object.entries(lock.packages).filter(([path, { dev }]) => path !== "" && !dev);

/** Rows of the list of all packages: name and licence. */
function listed(): Map<string, string> {
  const text = read("docs/dependencies.md");
  const part = text.slice(text.indexOf("### Licences of all that run"));
  const rows = [...part.matchAll(/^\| ([^|\s]+) \| ([^|]+) \|$/gm)].slice(1);
  return new Map(rows.map(([, name, licence]) => [name!, licence!.trim()]));
}

it("lists every package that runs, with the licence that it comes with, and no other", () => {
  const found = new Map<string, string>();
  for (const [path, { optional }] of running) {
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    let manifest: { license?: string };
    try {
      manifest = JSON.parse(read(`${path}/package.json`)) as typeof manifest;
    } catch (error) {
      // Binaries for other machines are not installed.
      if (optional) continue;
      throw error;
    }
    found.set(name, manifest.license ?? "none");
  }
  expect(found.size).toBeGreaterThan(50);
  const here = listed();
  for (const [name, licence] of found) expect([name, here.get(name)]).toEqual([name, licence]);
  const optional = new Set(
    running.filter(([, one]) => one.optional).map(([path]) => path.slice(path.lastIndexOf("node_modules/") + 13)),
  );
  expect([...here.keys()].filter((name) => !found.has(name) && !optional.has(name))).toEqual([]);
});

it("has no licence among them that asks for more than to be named", () => {
  const free = new Set(["MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "0BSD"]);
  expect([...listed().values()].filter((licence) => !free.has(licence))).toEqual([]);
});

it("is fixed by checksums, and runs nothing while it is installed", () => {
  const unfixed = running.filter(([, { integrity, optional }]) => integrity === undefined && !optional);
  expect(unfixed.map(([path]) => path)).toEqual([]);
  // koffi's script only looks for a compiler when there is no binary: it may stay blocked (.npmrc, docs/dependencies.md).
  const scripts = running.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path);
  expect(scripts.filter((path) => path !== "node_modules/koffi")).toEqual([]);
});
