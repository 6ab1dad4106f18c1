/** Command lines that ask for what makes no sense: refused before anything is made. */
import { expect, it } from "vitest";
import { cli, type Said } from "../support/cli.js";

function wlvs(...argv: string[]): Promise<Said> {
  return cli(argv, () => Promise.reject(new Error("nobody is to be asked")));
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
