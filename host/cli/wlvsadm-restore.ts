#!/usr/bin/env node
import { runRestore } from "../ipvs/scripts.js";
import { processIo, runningDirector } from "./ipvsadm-io.js";

process.exitCode = await runRestore(process.argv.slice(2), runningDirector, processIo());
