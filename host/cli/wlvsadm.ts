#!/usr/bin/env node
import { runIpvsadm } from "../ipvs/command.js";
import { processIo, runningDirector } from "./ipvsadm-io.js";

process.exitCode = await runIpvsadm(process.argv.slice(2), runningDirector, processIo());
