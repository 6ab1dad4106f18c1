// Compiles the core. A warning of the compiler is an error of ours.
import { mkdirSync } from "node:fs";
import asc from "assemblyscript/asc";

mkdirSync("dist", { recursive: true });
const target = process.argv[2] ?? "release";
const { error, stdout, stderr } = await asc.main(["--target", target]);
process.stdout.write(stdout.toString());
process.stderr.write(stderr.toString());
if (error !== null) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
} else if (/^(WARNING|ERROR) /m.test(stderr.toString())) {
  process.stderr.write("build-core: the compiler warned\n");
  process.exitCode = 1;
}
