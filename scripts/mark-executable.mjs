// tsc writes plain files; the commands among them are to be run, and to be found in node_modules/.bin.
import { chmodSync, existsSync, readFileSync, rmSync, symlinkSync } from "node:fs";

const LINKS = "node_modules/.bin";
const { bin } = JSON.parse(readFileSync("package.json", "utf8"));
for (const [name, file] of Object.entries(bin)) {
  if (!existsSync(file)) continue;
  chmodSync(file, 0o755);
  if (!existsSync(LINKS)) continue;
  rmSync(`${LINKS}/${name}`, { force: true });
  symlinkSync(`../../${file}`, `${LINKS}/${name}`);
}
