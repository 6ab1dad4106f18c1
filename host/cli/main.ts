#!/usr/bin/env node
const argv = process.argv.slice(2);
// Before anything else is loaded, which takes as long as a director takes to load itself.
const ahead = argv[0] === "run" ? (await import("../keeper/ahead.js")).startAhead(argv) : undefined;
const { processContext, runCli } = await import("./program.js");
process.exitCode = await runCli(argv, processContext(ahead));
ahead?.discard();
