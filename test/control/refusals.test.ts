/** Command lines that ask for what makes no sense: refused before anything is made. */
import { expect, it } from "vitest";
import type { CliContext } from "../../host/cli/context.js";
import { runCli } from "../../host/cli/program.js";

async function wlvs(...argv: string[]): Promise<{ status: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const context: CliContext = {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    stdin: (async function* () {})(),
    env: {},
    version: "0.1.0",
    exitStatus: 0,
    director: () => Promise.reject(new Error("nobody is to be asked")),
  };
  return { status: await runCli(argv, context), out, err };
}

it.each([
  [["help", "nosuch"], /^wlvs: unknown command 'nosuch'/],
  [["lab", "dr", "--failover"], /^wlvs: lab dr: --failover is shown with nat: wlvs lab nat --failover\n$/],
  [
    ["realserver", "dr", "--vip", "0.0.0.0", "--print"],
    /^wlvs: realserver --vip: 0\.0\.0\.0 is no address of a machine\n$/,
  ],
  [["realserver", "dr", "--vip", "224.0.0.1", "--print"], /is no address of a machine\n$/],
  [
    ["realserver", "dr", "--vip", "fe80::1%eth0", "--print"],
    /^wlvs: realserver --vip: fe80::1%eth0 is not an IP address\n$/,
  ],
] as const)("%j", async (argv, message) => {
  const { status, out, err } = await wlvs(...argv);
  expect(err).toMatch(message);
  expect(out).toBe("");
  expect(status).toBe(2);
});
