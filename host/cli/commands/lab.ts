/** `wlvs lab`: a load balancer at work, in one command. */
import { type Command, InvalidArgumentError } from "commander";
import { usage } from "../../errors.js";
import type { LabKind } from "../../lab/lab.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";

interface Options {
  readonly requests: number;
  readonly servers: number;
  readonly server?: string;
  readonly keep?: boolean;
  readonly listen?: string;
  readonly failover?: boolean;
}

const LARGEST = { requests: 100_000, servers: 100 };

function whole(largest: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,6}$/.test(text) ? Number(text) : 0;
    if (value < 1 || value > largest) throw new InvalidArgumentError(`It takes a number from 1 to ${largest}.`);
    return value;
  };
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("lab")
    .summary("see a load balancer at work, in one command")
    .description(
      "Makes a client, a director and real servers in network namespaces, sends real HTTP requests through the\n" +
        "virtual address, shows who answered, and takes everything away again. Status 0 only if every request went\n" +
        "where the scheduler says. Without root it runs in a user namespace, where /dev/net/tun may be opened.",
    )
    .argument("<method>", "forwarding method: nat, dr or tun")
    .option("--requests <n>", "how many requests", whole(LARGEST.requests), 9)
    .option("--servers <n>", "how many real servers; their weights are 1, 2, 1, 2 ...", whole(LARGEST.servers), 2)
    .option("--server <kind>", "web server: builtin or nginx (default: nginx if it is there)")
    .option("--keep", "leave it up until Ctrl-C, to look around")
    .option("--listen <address:port>", "serve the director's API there too (read-only)")
    .option("--failover", "also show how stopped servers are taken out (nat)")
    .action(async (method: string, options: Options) => {
      if (method !== "nat" && method !== "dr" && method !== "tun") throw usage(`lab: nat, dr or tun, not '${method}'`);
      if (options.failover && method !== "nat")
        throw usage(`lab ${method}: --failover is shown with nat: wlvs lab nat --failover`);
      if (options.server !== undefined && options.server !== "builtin" && options.server !== "nginx") {
        throw usage(`lab --server: builtin or nginx, not '${options.server}'`);
      }
      const { isRoot, runInUserNamespace } = await import("../../lab/rootless.js");
      context.exitStatus = isRoot()
        ? await runLab(method, options, context)
        : await runInUserNamespace(process.argv.slice(1));
    });
  examples(
    command,
    "wlvs lab nat\nwlvs lab nat --requests 30 --servers 4\nwlvs lab nat --failover\nwlvs lab dr --keep",
  );
}

async function runLab(method: LabKind, options: Options, context: CliContext): Promise<number> {
  const { hasNginx } = await import("../../lab/exercise.js");
  const { runLab: run } = await import("../../lab/lab.js");
  if (options.server === "nginx" && !hasNginx()) {
    throw usage("lab --server nginx: nginx is not installed (apt-get install nginx-light), or take --server builtin");
  }
  const server = options.server ?? (hasNginx() ? "nginx" : "builtin");
  return run(
    method,
    {
      requests: options.requests,
      servers: options.servers,
      server: server === "nginx" ? "nginx" : "builtin",
      keep: options.keep ?? false,
      failover: options.failover ?? false,
      listen: options.listen,
    },
    (text) => void context.stdout.write(text),
  );
}
