/** The version that package.json tells; the sources and the build lie at different depths below it. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The directory of package.json. */
export function packageDirectory(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    try {
      readFileSync(join(directory, "package.json"));
      return directory;
    } catch (cause) {
      const parent = dirname(directory);
      if (parent === directory) throw cause;
      directory = parent;
    }
  }
}

export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageDirectory(), "package.json"), "utf8")) as { version: string };
  return version;
}
