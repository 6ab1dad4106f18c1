/** The `wlvs` command: which commands there are, and how one is found and run. A command is loaded when it is used. */
import { Command, CommanderError } from "commander";
import { exitStatusOf, oneLine } from "../errors.js";
import type { Ahead } from "../keeper/ahead.js";
import type { CliContext, CommandModule } from "./context.js";
import { examples } from "./help.js";
import { packageVersion } from "./version.js";

interface Entry {
  readonly name: string;
  readonly summary: string;
  /** Absent: it has a grammar of its own, and is run before this program is made. */
  readonly load?: () => Promise<CommandModule>;
  readonly arguments?: string;
}

const ENTRIES: readonly Entry[] = [
  { name: "run", summary: "run a director", load: () => import("./commands/run.js") },
  { name: "lab", summary: "see a load balancer at work, in one command", load: () => import("./commands/lab.js") },
  { name: "ipvsadm", summary: "ipvsadm's grammar, against the running director", arguments: "[arguments...]" },
  { name: "status", summary: "show the running director", load: () => import("./commands/status.js") },
  {
    name: "doctor",
    summary: "what this machine offers, and what is missing",
    load: () => import("./commands/doctor.js"),
  },
  {
    name: "realserver",
    summary: "make this machine a real server",
    load: () => import("./commands/realserver.js"),
  },
  { name: "bench", summary: "measure it", load: () => import("./commands/bench.js") },
  {
    name: "replay",
    summary: "send captured frames through a director",
    load: () => import("./commands/replay.js"),
  },
  { name: "top", summary: "the running director, live", load: () => import("./commands/top.js") },
  { name: "check", summary: "check a configuration file", load: () => import("./commands/check.js") },
  {
    name: "import",
    summary: "make a configuration of another balancer's",
    load: () => import("./commands/import.js"),
  },
  {
    name: "save",
    summary: "write the running tables as a configuration",
    load: () => import("./commands/save.js"),
  },
  { name: "reload", summary: "read the configuration again", load: () => import("./commands/reload.js") },
  { name: "drain", summary: "let a real server finish, and no more", load: () => import("./commands/drain.js") },
  {
    name: "upgrade",
    summary: "replace the running director by this version",
    load: () => import("./commands/upgrade.js"),
  },
  { name: "trace", summary: "show what happens to frames", load: () => import("./commands/trace.js") },
  {
    name: "proc",
    summary: "show what a file of /proc/net/ip_vs* would",
    load: () => import("./commands/proc.js"),
  },
  {
    name: "completion",
    summary: "completion of command lines for bash, zsh and fish",
    load: () => import("./commands/completion.js"),
  },
];

const EXAMPLES = `
Examples:
  wlvs lab nat                  a client, a director and two web servers, and what they do
  wlvs doctor                   whether this machine can run a director
  wlvs run --tap ext0,ip=192.168.4.133/24 --tap int0,ip=192.168.2.130/24 \\
           --vip 192.168.4.133:80 --scheduler wrr --rip 192.168.2.128,weight=1 --rip 192.168.2.129,weight=2
  wlvs status                   what the running director does
  wlvsadm -Ln                   its rules, as ipvsadm prints them
`;

/** The program with the command `name` in full and the others by name: enough for every help text and every error. */
export async function createProgram(context: CliContext, name?: string, whole = false): Promise<Command> {
  const help = ENTRIES.some((entry) => entry.name === name) ? `wlvs ${name} --help` : "wlvs --help";
  const program = new Command("wlvs")
    .description("The Linux Virtual Server without the kernel module: an L4 load balancer on TAP and TUN devices.")
    .version(context.version, "-V, --version", "show the version")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [command]", "show help for a command")
    .usage("COMMAND [options]")
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => void context.stderr.write(text),
      outputError: (text, write) =>
        write(
          `${text
            .replace(/^error: /, "wlvs: ")
            .trimEnd()
            .replaceAll("\n", " ")} (see '${help}')\n`,
        ),
      getOutHelpWidth: () => context.stdout.columns ?? 110,
      getErrHelpWidth: () => context.stderr.columns ?? 110,
    })
    .exitOverride()
    .enablePositionalOptions()
    .addHelpText("after", EXAMPLES.trimEnd());
  program.configureHelp({ subcommandTerm: (command) => command.name() });
  for (const entry of ENTRIES) {
    if ((whole || entry.name === name) && entry.load !== undefined) {
      (await entry.load()).register(program, context, () => createWholeProgram(context));
      continue;
    }
    const command = program.command(entry.name).summary(entry.summary).description(entry.summary);
    if (entry.load === undefined) describe(command, entry);
  }
  return program;
}

/** The program with every command in full: for completions and manual pages. */
export function createWholeProgram(context: CliContext): Promise<Command> {
  return createProgram(context, undefined, true);
}

/** A command with a grammar of its own: for the help, completions and the manual. */
function describe(command: Command, entry: Entry): void {
  command
    .arguments(entry.arguments ?? "")
    .allowUnknownOption()
    .allowExcessArguments();
  examples(command, `wlvs ${entry.name} ${entry.arguments ?? ""}`.trimEnd());
}

/** Runs one command line; resolves with the status that the process is to end with. */
export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  try {
    if (argv[0] === "ipvsadm") {
      const { runWlvsadm } = await import("./commands/ipvsadm.js");
      return await runWlvsadm(argv.slice(1), context);
    }
    const about = argv[0] === "help" ? argv[1] : undefined;
    const isKnown = ENTRIES.some(({ name }) => name === about);
    const asked = about === undefined ? [...argv] : isKnown ? [about, "--help"] : [about];
    const program = await createProgram(context, asked[0]);
    if (asked.length === 0) {
      program.outputHelp({ error: true });
      return 2;
    }
    await program.parseAsync(asked, { from: "user" });
    return context.exitStatus;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    context.stderr.write(`wlvs: ${oneLine(error)}\n`);
    if (context.env.WLVS_DEBUG && error instanceof Error) context.stderr.write(`${error.stack}\n`);
    return exitStatusOf(error);
  }
}

/** `ahead`: a director's process that runs already. */
export function processContext(ahead?: Ahead): CliContext {
  // A reader that has seen enough (`wlvs status | head`) is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(process.exitCode ?? 0);
  });
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    env: process.env,
    version: packageVersion(),
    exitStatus: 0,
    ahead,
    director: async (socket) => {
      const { RemoteIpvs, socketPath } = await import("../control/client.js");
      return new RemoteIpvs(socketPath(process.env, socket));
    },
  };
}
