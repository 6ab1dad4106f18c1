/** `wlvs drain`: a real server gets no new clients, and the command waits until the old ones are gone. */
import type { Command } from "commander";
import { formatAddress, parseAddress } from "../../address.js";
import type { RemoteIpvs } from "../../control/client.js";
import { serverKey, serviceKey } from "../../control/keys.js";
import { usage } from "../../errors.js";
import type { IpvsStep, ServiceInfo } from "../../ipvs/model.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";

interface Options {
  readonly socket?: string;
  readonly timeout?: string;
}

const POLL_MS = 500;

interface Place {
  readonly address: string;
  readonly port: number | undefined;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("drain")
    .summary("let a real server finish, and no more")
    .description(
      "Sets the weight of a real server to 0 in every service that has it, and waits until its connections have ended.\n" +
        "Status 0 when they have, 1 when the time was up first. A file that says otherwise is applied by the next reload.",
    )
    .argument("<rip>", "the real server's address, or ADDR:PORT for one of its ports alone")
    .option("--timeout <seconds>", "wait so long, and no longer")
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .action(async (text: string, options: Options) => {
      const place = parsePlace(text);
      const limit = options.timeout === undefined ? Number.POSITIVE_INFINITY : Number(options.timeout);
      if (!(limit >= 0)) throw usage(`drain --timeout ${options.timeout}: write a number of seconds`);
      context.exitStatus = await drain(await context.director(options.socket), text, place, limit, context);
    });
  examples(command, "wlvs drain 192.168.2.129\nwlvs drain 192.168.2.129:80 --timeout 60 && systemctl stop nginx");
}

function parsePlace(text: string): Place {
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const parsed = parseAddress(parts?.[1] ?? parts?.[2] ?? text);
  if (parsed === undefined) throw usage(`drain ${text}: write an address, or ADDR:PORT`);
  const port = parts?.[3] === undefined ? undefined : Number(parts[3]);
  return { address: formatAddress(parsed.family, parsed.bytes), port };
}

function matching(services: readonly ServiceInfo[], { address, port }: Place) {
  return services.flatMap((service) =>
    service.servers
      .filter(({ id }) => id.address === address && (port === undefined || id.port === port))
      .map((server) => ({ service, server })),
  );
}

async function drain(
  director: RemoteIpvs,
  text: string,
  place: Place,
  limit: number,
  context: CliContext,
): Promise<number> {
  const found = matching(await director.tables(), place);
  if (found.length === 0) throw usage(`drain ${text}: no service has such a real server`);
  const steps = found
    .filter(({ server }) => server.weight !== 0)
    .map(({ service, server }): IpvsStep => {
      const { id, forwarding, upperThreshold, lowerThreshold, tunnel } = server;
      const config = { id, forwarding, weight: 0, upperThreshold, lowerThreshold, tunnel };
      return { do: "editServer", service: service.id, server: config };
    });
  if (steps.length > 0) await director.transaction(steps);
  for (const { service, server } of found) {
    context.stdout.write(`${serverKey(server.id)} gets no new clients of ${serviceKey(service.id)}\n`);
  }
  const began = performance.now();
  let last = -1;
  for (;;) {
    const left = matching(await director.services(), place).reduce((sum, { server }) => sum + server.active, 0);
    if (left !== last)
      context.stdout.write(left === 0 ? "no connections are left\n" : `${left} connections are left\n`);
    last = left;
    if (left === 0) return 0;
    const waited = (performance.now() - began) / 1000;
    if (waited >= limit) {
      context.stderr.write(`wlvs: after ${limit} s ${left} connections are left\n`);
      return 1;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(POLL_MS, (limit - waited) * 1000)));
  }
}
