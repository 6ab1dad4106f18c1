/** Completion in real shells, the manual pages, and that no option is without a word about it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CommandModel, modelOf } from "../../host/cli/model.js";
import { createWholeProgram, processContext, runCli } from "../../host/cli/program.js";
import { wlvsadmOptions } from "../../host/cli/wlvsadm-model.js";
import { RemoteIpvs } from "../../host/control/client.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import { needsCommands } from "../support/needs.js";
import { FakeInfo, FakeIpvs } from "./fake.js";

const ROOT = join(import.meta.dirname, "../..");
const CONTEXT = processContext();
let directory: string;
let socket: string;
let server: ControlServer;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  socket = join(directory, "wlvs.sock");
  const ipvs = new FakeIpvs();
  const id = { family: 4, protocol: "tcp", address: "192.168.4.133", port: 80 } as const;
  const common = { scheduler: "wrr", persistencePrefix: 32, onePacket: false, schedulerFlags: 0 };
  await ipvs.addService({ id, ...common });
  await ipvs.addServer(id, {
    id: { family: 4, address: "192.168.2.128", port: 8080 },
    forwarding: "nat",
    weight: 2,
    upperThreshold: 0,
    lowerThreshold: 0,
  });
  server = await createControlServer({ ipvs, info: new FakeInfo(), socketPath: socket });
  for (const shell of ["bash", "zsh", "fish"]) {
    for (const name of ["wlvs", "wlvsadm"]) {
      writeFileSync(join(directory, `${name}.${shell}`), (await wlvs("completion", shell, "--for", name)).out);
    }
  }
  // What the scripts ask: the names of the director above, without starting a program for them.
  const names = await Promise.all(
    ["tcp-services", "servers", "addresses"].map(async (list) => [
      list,
      (await wlvs("completion", "--list", list)).out,
    ]),
  );
  const cases = names.map(([list, out]) => `*${list}*) echo '${out!.trim()}' ;;`);
  writeFileSync(join(directory, "wlvs"), `#!/bin/sh\ncase "$*" in ${cases.join(" ")} esac\n`, { mode: 0o755 });
});

afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

async function wlvs(...argv: string[]): Promise<{ status: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const context = {
    ...CONTEXT,
    stdout: { write: (text: string) => (out += text) },
    stderr: { write: (text: string) => (err += text) },
    director: async (path?: string) => new RemoteIpvs(path ?? socket),
  };
  return { status: await runCli(argv, context), out, err };
}

function shell(program: string, ...args: string[]): string {
  const env = { ...process.env, PATH: `${directory}:${process.env.PATH}`, HOME: directory };
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: "utf8", env, timeout: 100_000 });
  if (status !== 0) throw new Error(`${program}: status ${status}: ${stderr}`);
  return stdout;
}

/** bash, with words cut as its line editor cuts them. */
const BASH = `source "$1"; COMP_LINE=$2 COMP_POINT=\${#2}
split=\${2//[:=]/ & }; read -ra COMP_WORDS <<<"$split"; [[ $2 == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
how=$(complete -p "\${2%% *}") && how=\${how#*-F } && "\${how%% *}"
printf '%s\\n' "\${COMPREPLY[@]}"`;

/** [program, line typed, words that must be offered] */
const LINES: ReadonlyArray<readonly [string, string, readonly string[]]> = [
  ["wlvs", "wlvs stat", ["status"]],
  ["wlvs", "wlvs run --sch", ["--scheduler"]],
  ["wlvs", "wlvs run --scheduler w", ["wlc", "wrr"]],
  ["wlvs", "wlvs run --vip 192.168.4.133:80 --mode ", ["dr", "fullnat", "nat", "tun"]],
  ["wlvs", "wlvs lab ", ["dr", "nat", "tun"]],
  ["wlvs", "wlvs bench ", ["core", "path", "peers"]],
  ["wlvs", "wlvs proc ", ["ip_vs", "ip_vs_conn", "ip_vs_stats"]],
  ["wlvs", "wlvs drain ", ["192.168.2.128"]],
  ["wlvsadm", "wlvsadm --tun-type ", ["gre", "gue", "ipip"]],
  ["wlvsadm", "wlvsadm --real", ["--real-server"]],
];

describe("completion", () => {
  it.each(LINES)("of %s in bash: %s", (name, line, offered) => {
    const out = shell("bash", "-c", BASH, "bash", join(directory, `${name}.bash`), line);
    expect(out.split("\n").filter(Boolean)).toEqual(expect.arrayContaining([...offered]));
  });

  it("of bash offers what follows the colon that its own words end at", () => {
    const file = join(directory, "wlvsadm.bash");
    expect(shell("bash", "-c", BASH, "bash", file, "wlvsadm -L -t 192.168.4.133:")).toBe("80\n");
    expect(shell("bash", "-c", BASH, "bash", file, "wlvsadm -d -t 192.168.4.133:80 -r 19")).toBe(
      "192.168.2.128:8080\n",
    );
    expect(shell("bash", "-c", BASH, "bash", join(directory, "wlvs.bash"), "wlvs run --io=u")).toBe("uring\n");
  });

  it("in fish", (context) => {
    needsCommands(context, "fish");
    for (const [name, line, offered] of LINES) {
      const out = shell("fish", "--no-config", "-c", `source ${directory}/${name}.fish; complete -C '${line}'`);
      const words = out
        .split("\n")
        .flatMap((text) => text.split("\t", 1))
        .filter(Boolean);
      expect(words, line).toEqual(expect.arrayContaining([...offered]));
    }
  });

  it("in zsh", (context) => {
    needsCommands(context, "zsh");
    const driver = join(directory, "drive.zsh");
    writeFileSync(driver, ZSH);
    for (const name of ["wlvs", "wlvsadm"]) {
      writeFileSync(join(directory, `_${name}`), readFileSync(join(directory, `${name}.zsh`)));
    }
    const some = LINES.filter((_, at) => at % 2 === 0);
    const lines = some.map(([, line]) => line);
    const out = shell("zsh", "-f", driver, directory, ...lines);
    const answers = out.split("\u0001").slice(1);
    for (const [at, [, line, offered]] of some.entries()) {
      for (const word of offered) expect(answers[at], `${line}: ${JSON.stringify(answers[at])}`).toContain(word);
    }
  }, 100_000);

  it("is refused in one line for what there is not", async () => {
    expect(await wlvs("completion", "tcsh")).toMatchObject({
      status: 2,
      err: "wlvs: completion: bash, zsh, fish, not 'tcsh'\n",
    });
    expect(await wlvs("completion", "bash", "--for", "ls")).toMatchObject({
      status: 2,
      err: "wlvs: completion --for: wlvs or wlvsadm, not 'ls'\n",
    });
    expect((await wlvs("completion", "--list", "things")).err).toMatch(
      /^wlvs: completion --list things: write one of /,
    );
  });
});

/** An interactive zsh on a terminal of its own, a line typed and the Tab key pressed twice. */
const ZSH = `
zmodload zsh/zpty
directory=$1; shift
for line in "$@"; do
  zpty z zsh -f -i
  zpty -w z "PS1='>'; COLUMNS=200; fpath=($directory \\$fpath); autoload -U compinit; compinit -u -D; unsetopt beep; print re''ady"
  for n in {1..100}; do zpty -r -t z part && [[ $part == *ready* ]] && break; sleep 0.05; done
  while zpty -r -t z part; do :; done
  zpty -n -w z "$line"$'\\t\\t'
  out=
  for n in {1..24}; do sleep 0.05; while zpty -r -t z part; do out+=$part; done; done
  print -rn -- $'\\x01'"$out" | sed 's/\\x1b\\[[0-9;?]*[a-zA-Z]//g'
  zpty -d z
done
`;

function everyCommand(model: CommandModel): CommandModel[] {
  return [model, ...model.commands.flatMap(everyCommand)];
}

describe("help and manual", () => {
  it("say something of every command, option and argument", async () => {
    const commands = everyCommand(modelOf(await createWholeProgram(CONTEXT)));
    expect(commands.length).toBeGreaterThan(15);
    for (const command of commands) {
      expect(command.description, command.name).not.toBe("");
      for (const option of command.options) {
        expect(option.description, `${command.name} ${option.long}`).toMatch(/\w{3}/);
        expect(option.long, command.name).toMatch(/^--/);
      }
    }
    for (const option of wlvsadmOptions()) expect(option.description, option.long).toMatch(/\w{3}/);
  });

  it("the manual page names all of them, and mandoc finds nothing to warn of", async (context) => {
    needsCommands(context, "mandoc");
    const page = (name: string) => readFileSync(join(ROOT, `dist/man/${name}.8`), "utf8");
    const plain = (text: string) => text.replaceAll("\\-", "-").replaceAll("\\fB", "").replaceAll("\\fR", "");
    const wlvsPage = plain(page("wlvs"));
    for (const command of everyCommand(modelOf(await createWholeProgram(CONTEXT)))) {
      expect(wlvsPage, command.name).toContain(command.name);
      for (const { long } of command.options) expect(wlvsPage, `${command.name} ${long}`).toContain(long);
    }
    const other = plain(page("wlvsadm"));
    for (const { long, short } of wlvsadmOptions()) {
      expect(other).toContain(long);
      if (short !== undefined) expect(other).toContain(short);
    }
    for (const name of ["wlvs", "wlvsadm"]) {
      const lint = spawnSync("mandoc", ["-Tlint", "-Wwarning", join(ROOT, `dist/man/${name}.8`)], { encoding: "utf8" });
      expect(lint.stdout + lint.stderr).toBe("");
      const text = spawnSync("mandoc", ["-Tascii", join(ROOT, `dist/man/${name}.8`)], { encoding: "utf8" }).stdout;
      expect(text.split("\n").length).toBeGreaterThan(150);
    }
  });
});
