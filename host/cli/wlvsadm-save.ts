#!/usr/bin/env node
import { runSave } from "../ipvs/scripts.js";
import { processIo, runningDirector } from "./ipvsadm-io.js";

process.exitCode = await runSave(process.argv.slice(2), runningDirector, processIo());
