// What of the page is not compiled.
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";

mkdirSync("dist/host/page", { recursive: true });
for (const name of readdirSync("host/page")) {
  if (/\.(html|css|svg)$/.test(name)) copyFileSync(`host/page/${name}`, `dist/host/page/${name}`);
}
