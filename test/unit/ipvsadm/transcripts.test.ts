import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { runIpvsadm } from "../../../host/ipvs/command.js";
import { FileNames } from "../../../host/ipvs/names.js";
import { runRestore, runSave } from "../../../host/ipvs/scripts.js";
import { TablesModel } from "./tables-model.js";
import { readTranscript, splitWords } from "./transcript.js";

const folder = new URL("./transcripts/", import.meta.url);
const names = new FileNames(fileURLToPath(new URL("./etc", import.meta.url)));

/** The kernel lists services by a hash of their addresses when they are not sorted. */
function comparable(command: string, text: string): string {
  return command.includes("--nosort") ? text.split("\n").sort().join("\n") : text;
}

describe("answers as ipvsadm does", () => {
  for (const file of readdirSync(folder)) {
    test(file, async () => {
      const tables = new TablesModel();
      for (const { command, stdin, stdout, stderr, status, line } of readTranscript(new URL(file, folder))) {
        const told = { stdout: "", stderr: "" };
        const io = {
          stdin: async () => stdin,
          stdout: (text: string) => void (told.stdout += text),
          stderr: (text: string) => void (told.stderr += text),
          names,
        };
        const [program, ...words] = splitWords(command);
        const run = async () => {
          if (program === "ipvsadm-save") return runSave(words, tables, io);
          if (program === "ipvsadm-restore") return runRestore(words, tables, io);
          return runIpvsadm(words, tables, io);
        };
        const ended = await run();
        expect(
          { ...told, stdout: comparable(command, told.stdout), status: ended },
          `${file}, line ${line}: ${command}`,
        ).toEqual({ stdout: comparable(command, stdout), stderr, status });
      }
    });
  }
});
