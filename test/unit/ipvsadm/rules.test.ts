import { describe, expect, test } from "vitest";
import { runIpvsadm } from "../../../host/ipvs/command.js";
import { type Ipvs, IpvsError } from "../../../host/ipvs/model.js";
import { FileNames } from "../../../host/ipvs/names.js";
import { parseRules, RulesError } from "../../../host/ipvs/restore.js";
import { TablesModel } from "./tables-model.js";

const names = new FileNames(new URL("./etc", import.meta.url).pathname);

const RULES = `-A -t 192.168.4.133:80 -s wrr -p 100 -M 255.255.0.0
-a -t 192.168.4.133:80 -r 192.168.2.128:8080 -m -w 1
-a -t 192.168.4.133:80 -r 192.168.2.129:80 --fullnat -w 2
-A -u 192.168.4.133:53 -s sh -o -b sh-fallback,sh-port
-a -u 192.168.4.133:53 -r 192.168.2.129:53 -i -w 0 --tun-type gue --tun-port 6080 --tun-remcsum
-A -u 192.168.4.133:5060 -s rr -p 60 --pe sip
-A --sctp-service 192.168.4.133:2905 -s rr
-A -t [2001:db8:4::150]:80 -s rr -p 100 -M 64
-a -t [2001:db8:4::150]:80 -r 192.168.2.129:80 -i -w 1 --tun-type gre --tun-csum
-A -f 7 -6 -s mh -b mh-port
-a -f 7 -6 -r [2001:db8:2::33]:0 -g -w 1
`;

/** Words in, what was told and the status out. */
async function ipvsadm(words: string, ipvs: Ipvs | (() => Promise<Ipvs>), stdin = "") {
  const told = { stdout: "", stderr: "" };
  const status = await runIpvsadm(words.split(" "), ipvs, {
    stdin: async () => stdin,
    stdout: (text) => void (told.stdout += text),
    stderr: (text) => void (told.stderr += text),
    program: "wlvsadm",
    names,
  });
  return { ...told, status };
}

function problemOf(text: string): string {
  try {
    parseRules(text, names);
  } catch (error) {
    if (error instanceof RulesError) return `${error.line}: ${error.message}`;
    throw error;
  }
  return "none";
}

describe("rules files", () => {
  test("what --restore takes in, --save puts out", async () => {
    const tables = new TablesModel();
    expect(await ipvsadm("-R", tables, RULES)).toEqual({ stdout: "", stderr: "", status: 0 });
    expect((await ipvsadm("-Sn", tables)).stdout).toBe(RULES);
  });

  test("as steps they make the same tables in one go", async () => {
    const tables = new TablesModel();
    await tables.transaction(parseRules(RULES, names).map(({ step }) => step));
    expect((await ipvsadm("-Sn", tables)).stdout).toBe(RULES);
  });

  test("lines keep their numbers; comments and empty lines are passed over", () => {
    const text = "# rules\n\n-C\n  # more\nipvsadm -A -f 1\n";
    expect(parseRules(text, names).map(({ number, step }) => [number, step.do])).toEqual([
      [3, "flush"],
      [5, "addService"],
    ]);
  });

  test.each([
    ["-A -t 1.1.1.1:80\n-A -t 1.1.1.2\n", "2: Zero port specified for non-persistent service"],
    ["-A -t 1.1.1.1:80 -s\n", "1: -s: missing argument"],
    ["rubbish and more\n", "1: not a rule: rubbish and more"],
    ["-L -n\n", "1: not a rule: -L -n"],
    ["-R\n", "1: not a rule: -R"],
    ["-A -6 -f 1\n", "1: -6 used before -f"],
    ["-A -t not-in-the-hosts-file:80\n", "1: unknown host not-in-the-hosts-file"],
    ["\n\n-a -t 1.1.1.1:80\n", "3: You need to supply the 'real-server' option for the 'add-server' command"],
  ])("%j is refused", (text, problem) => expect(problemOf(text)).toBe(problem));
});

describe("the director", () => {
  test("is not asked for anything by a line that cannot be read", async () => {
    const nobody = async (): Promise<Ipvs> => {
      throw new Error("no director is running here");
    };
    expect(await ipvsadm("-A -t 1.1.1.1", nobody)).toMatchObject({ status: 2, stdout: "" });
    expect((await ipvsadm("-h", nobody)).status).toBe(0);
    expect(await ipvsadm("-Ln", nobody)).toEqual({
      stdout: "",
      stderr: "wlvsadm: no director is running here\n",
      status: 2,
    });
  });

  test("explains in its own words what it cannot do yet", async () => {
    const tables = new TablesModel();
    tables.addServer = async () => {
      throw new IpvsError("EOPNOTSUPP", 95, "a director cannot send through gre tunnels yet");
    };
    expect(await ipvsadm("-a -f 1 -r 10.0.0.1 -i --tun-type gre", tables)).toEqual({
      stdout: "",
      stderr: "a director cannot send through gre tunnels yet\n",
      status: 255,
    });
  });

  test("out of reach in the middle of a restore ends it", async () => {
    const tables = new TablesModel();
    let calls = 0;
    tables.addService = async () => {
      calls++;
      throw new Error("the director ended");
    };
    const ended = await ipvsadm("-R", tables, "-A -f 1\n-A -f 2\n");
    expect(ended).toEqual({ stdout: "", stderr: "wlvsadm: the director ended\n", status: 2 });
    expect(calls).toBe(1);
  });
});

test("help names every option, and the program as it was called", async () => {
  const { stdout } = await ipvsadm("--help", new TablesModel());
  for (const option of ["--fullnat", "--tun-remcsum", "--mcast-ttl", "--persistent-conn", "--nosort", "wlvsadm -A"]) {
    expect(stdout).toContain(option);
  }
});
