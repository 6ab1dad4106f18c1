// Makes the manual pages, dist/man/*.8, of the commands that were just built. Their date is the release's.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { manualOfCommands, manualOfOptions } from "../dist/host/cli/manual.js";
import { modelOf } from "../dist/host/cli/model.js";
import { createWholeProgram, processContext } from "../dist/host/cli/program.js";
import { wlvsadmOptions } from "../dist/host/cli/wlvsadm-model.js";
import { helpText } from "../dist/host/ipvs/help.js";

const { version } = JSON.parse(readFileSync("package.json", "utf8"));
const changes = readFileSync("CHANGELOG.md", "utf8");
const date = new RegExp(`^## \\[${version.replaceAll(".", "\\.")}\\] - (\\S+)$`, "m").exec(changes)?.[1];
if (date === undefined) throw new Error(`build-man: CHANGELOG.md has no date of ${version}`);

const program = modelOf(await createWholeProgram(processContext()));
const environment = [
  ["WLVS_SOCKET", "the control socket, where no --socket is given (/run/wlvs.sock)"],
  ["WLVS_DEBUG", "not empty: errors are printed with where they came from"],
  ["NOTIFY_SOCKET", "wlvs run: the socket of a service manager (sd_notify)"],
  ["WATCHDOG_USEC", "wlvs run: how often it wants a sign of life, in microseconds"],
];
mkdirSync("dist/man", { recursive: true });
writeFileSync("dist/man/wlvs.8", manualOfCommands({ name: "wlvs", version, date }, program, environment));
writeFileSync(
  "dist/man/wlvsadm.8",
  manualOfOptions(
    { name: "wlvsadm", version, date },
    "administer the Linux Virtual Server without the kernel module",
    wlvsadmOptions(),
    helpText("wlvsadm", version),
  ),
);
