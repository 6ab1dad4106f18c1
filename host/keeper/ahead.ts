/**
 * A director's process that is started before anybody knows what it is to do: two programs of JavaScript take longer to
 * load one after the other than beside each other. It has no privileges, and nothing but the channel to this process,
 * until the keeper has read its configuration and opened the devices.
 */
import * as native from "../port/native.js";
import { chooseUser } from "./director-user.js";
import { boundChildren } from "./privileges.js";
import { type DirectorProcess, spawnDirector } from "./spawn.js";
import type { User } from "./user.js";

/** What `wlvs run` cannot do without. */
const PORTS = /^--(tap|tun|config)(=|$)/;
const HELP = new Set(["-h", "--help"]);

export class Ahead {
  private readonly user: User | undefined;
  private process: DirectorProcess | undefined;
  private readonly gone = () => this.discard();

  constructor(user: User | undefined) {
    this.user = user;
    const process = spawnDirector(user);
    this.process = process;
    const { child } = process;
    child.once("error", this.gone);
    child.once("exit", this.gone);
    // It is no reason to go on for a command that has nothing else to do.
    child.unref();
    child.channel?.unref();
  }

  /** The process, which is the caller's from now on; undefined: there is none any more, or it ran as somebody else. */
  claim(user: User | undefined): DirectorProcess | undefined {
    const { process } = this;
    if (process === undefined) return undefined;
    if (this.user?.uid !== user?.uid || this.user?.gid !== user?.gid) {
      this.discard();
      return undefined;
    }
    this.process = undefined;
    const { child } = process;
    child.off("error", this.gone);
    child.off("exit", this.gone);
    child.ref();
    child.channel?.ref();
    return process;
  }

  /** Ends the process if nobody has claimed it. */
  discard(): void {
    const { process } = this;
    if (process === undefined) return;
    this.process = undefined;
    native.close(process.socket);
    process.child.kill("SIGKILL");
  }
}

/** For the arguments of `wlvs`: undefined when they hardly lead to a director, or when it cannot be started like this. */
export function startAhead(argv: readonly string[]): Ahead | undefined {
  if (argv[0] !== "run" || !argv.some((text) => PORTS.test(text)) || argv.some((text) => HELP.has(text)))
    return undefined;
  try {
    boundChildren();
    return new Ahead(chooseUser(flag(argv, "--user")).user);
  } catch {
    // Whoever starts it in its time says what is wrong.
    return undefined;
  }
}

function flag(argv: readonly string[], name: string): string | undefined {
  const at = argv.findIndex((text) => text === name || text.startsWith(`${name}=`));
  return at < 0 ? undefined : argv[at] === name ? argv[at + 1] : argv[at]!.slice(name.length + 1);
}
