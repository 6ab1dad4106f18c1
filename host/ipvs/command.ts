/** ipvsadm as a function: words in, text out, an exit status. */
import {
  connectionsHead,
  formatConnection,
  formatDaemon,
  formatServices,
  formatTimeouts,
  formatVersion,
} from "./format.js";
import { type Command, CommandLineError, parseCommand, UnknownHost } from "./grammar.js";
import { helpText, versionText } from "./help.js";
import { type ConnectionInfo, type Ipvs, IpvsError } from "./model.js";
import { type Names, SystemNames } from "./names.js";
import { NamedPlaces, numericPlace, placesOf } from "./place-text.js";
import { refusalText } from "./refusal-text.js";
import { withoutProgram, wordsOfLines } from "./restore.js";
import { formatRules } from "./save.js";

export interface IpvsadmIo {
  stdin(): Promise<string>;
  /** What it promises is waited for before more of a long listing is made. */
  stdout(text: string): void | Promise<void>;
  stderr(text: string): void;
  /** What messages call the program. */
  readonly program?: string | undefined;
  /** Reads the version of wlvs. */
  readonly version?: (() => string) | undefined;
  readonly names?: Names | undefined;
}

/** Exit statuses: the tables refused a change; they refused to show something; there are no tables. */
const REFUSED = 255;
const NOT_SHOWN = 1;
const NO_DIRECTOR = 2;

/** Ends the program, from within a restore too. */
class Exit extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`exit status ${status}`);
    this.name = "Exit";
    this.status = status;
  }
}

/** Runs one command line, without the program's name; the director is reached only when it is needed. */
export async function runIpvsadm(
  argv: readonly string[],
  ipvs: Ipvs | (() => Promise<Ipvs>),
  io: IpvsadmIo,
): Promise<number> {
  const run = new Run(ipvs, io);
  try {
    if (argv.length === 0) return await run.command(["-L"], false);
    return await run.command(argv, false);
  } catch (error) {
    if (error instanceof Exit) return error.status;
    throw error;
  }
}

/** What needs the tables. */
type TableCommand = Exclude<Command, { readonly do: "help" } | { readonly do: "version" } | { readonly do: "restore" }>;

/** Connections are written in pieces of about this many characters. */
const PIECE = 64 * 1024;

class Run {
  private readonly connect: () => Promise<Ipvs>;
  private readonly io: IpvsadmIo;
  private readonly program: string;
  private readonly names: Names;
  private connected: Ipvs | undefined;

  constructor(ipvs: Ipvs | (() => Promise<Ipvs>), io: IpvsadmIo) {
    this.connect = typeof ipvs === "function" ? ipvs : async () => ipvs;
    this.io = io;
    this.program = io.program ?? "ipvsadm";
    this.names = io.names ?? new SystemNames();
  }

  async command(words: readonly string[], fromRestore: boolean): Promise<number> {
    let command: Command;
    try {
      command = await this.parse(words);
    } catch (error) {
      if (!(error instanceof CommandLineError)) throw error;
      this.io.stderr(`${error.message}\n`);
      if (error.ends) throw new Exit(error.status);
      return error.status;
    }
    if (command.do === "restore") return fromRestore ? this.refuseNesting() : this.restore();
    if (command.do === "help" || command.do === "version") return this.tell(command.do);
    return this.act(command);
  }

  /** Reads the words, asking the resolver for host names as they turn up. */
  private async parse(words: readonly string[]): Promise<Command> {
    const missing = new Set<string>();
    const names: Names = Object.create(this.names, {
      host: { value: (name: string) => (missing.has(name) ? "" : this.names.host(name)) },
    });
    for (;;) {
      try {
        return parseCommand(words, names, this.program);
      } catch (error) {
        if (!(error instanceof UnknownHost)) throw error;
        if ((await this.names.resolve(error.host)) === undefined) missing.add(error.host);
      }
    }
  }

  private tell(what: "help" | "version"): never {
    const version = this.io.version?.() ?? "";
    this.io.stdout((what === "help" ? helpText : versionText)(this.program, version));
    throw new Exit(0);
  }

  /** Line after line: a refused one is reported and the next one read; the last one's status is that of the whole. */
  private async restore(): Promise<number> {
    let status = 0;
    for (const { words } of wordsOfLines(await this.io.stdin())) {
      const line = withoutProgram(words, this.program);
      if (line.length > 0) status = await this.command(line, true);
    }
    return status;
  }

  private refuseNesting(): never {
    this.io.stderr(`Try \`${this.program} -h' or '${this.program} --help' for more information.\n`);
    throw new Exit(REFUSED);
  }

  private async act(command: TableCommand): Promise<number> {
    const shows = command.do.startsWith("list") || command.do === "save";
    try {
      this.connected ??= await this.connect();
      await this.apply(command, this.connected);
      return 0;
    } catch (error) {
      if (!(error instanceof IpvsError)) {
        // There is no director, or it went away.
        this.io.stderr(`${this.program}: ${error instanceof Error ? error.message : String(error)}\n`);
        throw new Exit(NO_DIRECTOR);
      }
      this.io.stderr(`${refusalText(command.do, error)}\n`);
      if (shows) throw new Exit(NOT_SHOWN);
      return REFUSED;
    }
  }

  private async apply(command: TableCommand, ipvs: Ipvs): Promise<void> {
    switch (command.do) {
      case "addService":
        return ipvs.addService(command.service);
      case "editService":
        return ipvs.editService(command.service);
      case "removeService":
        return ipvs.removeService(command.id);
      case "addServer":
        return ipvs.addServer(command.service, command.server);
      case "editServer":
        return ipvs.editServer(command.service, command.server);
      case "removeServer":
        return ipvs.removeServer(command.service, command.server);
      case "flush":
        return ipvs.flush();
      case "zero":
        return ipvs.zero(command.id);
      case "setTimeouts":
        return ipvs.setTimeouts(command.timeouts);
      case "startDaemon":
        return ipvs.startDaemon(command.daemon);
      case "stopDaemon":
        return ipvs.stopDaemon(command.role);
      case "save":
        return this.save(ipvs, command.numeric);
      case "list":
        return this.list(ipvs, command);
      case "listConnections":
        return this.listConnections(ipvs, command.numeric, command.persistenceData);
      case "listTimeouts":
        return this.io.stdout(formatTimeouts(await ipvs.timeouts()));
      case "listDaemons":
        for (const daemon of await ipvs.daemons()) await this.io.stdout(formatDaemon(daemon));
    }
  }

  private async save(ipvs: Ipvs, numeric: boolean): Promise<void> {
    const services = await ipvs.services();
    await this.write(formatRules(services, await placesOf(services, numeric, this.names)));
  }

  private async list(ipvs: Ipvs, { id, options }: Extract<Command, { readonly do: "list" }>): Promise<void> {
    const services = id === undefined ? await ipvs.services() : [await ipvs.service(id)];
    const head = id === undefined ? formatVersion(await ipvs.tableSize()) : "";
    const place = await placesOf(services, options.numeric, this.names);
    await this.write(formatServices(services, options, place), head);
  }

  /** As fast as it is read. */
  private async write(parts: Iterable<string>, head = ""): Promise<void> {
    let text = head;
    for (const part of parts) {
      text += part;
      if (text.length <= PIECE) continue;
      await this.io.stdout(text);
      text = "";
    }
    if (text !== "") await this.io.stdout(text);
  }

  private async listConnections(ipvs: Ipvs, numeric: boolean, persistenceData: boolean): Promise<void> {
    const places = new NamedPlaces(this.names);
    let text = connectionsHead(persistenceData);
    let batch: ConnectionInfo[] = [];
    const write = async () => {
      if (!numeric) await places.ask(batch.flatMap(hostsOf));
      for (const connection of batch) {
        text += formatConnection(connection, persistenceData, numeric ? numericPlace : places.text);
      }
      await this.io.stdout(text);
      text = "";
      batch = [];
    };
    for await (const connection of ipvs.connections()) {
      batch.push(connection);
      if (batch.length * 80 > PIECE) await write();
    }
    await write();
  }
}

function hostsOf(connection: ConnectionInfo) {
  const { family, client, virtual, server, serverFamily } = connection;
  return [
    { family, address: client },
    { family, address: virtual },
    { family: serverFamily, address: server },
  ];
}
