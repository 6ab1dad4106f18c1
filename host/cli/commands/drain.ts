/** `wlvs drain`: a real server gets no new clients, and the command waits until the old ones are gone. */
import type { Command } from "commander";
import { formatAddress, parseAddress } from "../../address.js";
import type { RemoteIpvs } from "../../control/client.js";
import { serverKey, serviceKey } from "../../control/keys.js";
import { usage } from "../../errors.js";
import type { IpvsStep, ServiceInfo } from "../../ipvs/model.js";
import type { CliContext } from "../context.js";
import { duration } from "../format.js";
import { examples } from "../help.js";

interface Options {
  readonly socket?: string;
  readonly timeout?: string;
}

const POLL_MS = 500;
/** 128 + SIGINT, as a shell counts it. */
const INTERRUPTED = 130;

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
        "Status 0 when they have, 1 when the time was up first; the weight stays 0 in both cases. Ctrl-C gives the weights\n" +
        "back. A configuration file that says otherwise is applied when it is read again.",
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
  const weighed = found.filter(({ server }) => server.weight !== 0);
  const interrupt = new Interrupt();
  try {
    if (weighed.length > 0) await director.transaction(weighed.map((one) => weightStep(one, 0)));
    for (const { service, server } of found) {
      context.stdout.write(`${serverKey(server.id)} gets no new clients of ${serviceKey(service.id)}\n`);
    }
    return (
      (await wait(director, place, limit, interrupt, context)) ?? (await giveBack(director, place, weighed, context))
    );
  } finally {
    interrupt.close();
  }
}

/** The exit status, or undefined: interrupted. */
async function wait(
  director: RemoteIpvs,
  place: Place,
  limit: number,
  interrupt: Interrupt,
  context: CliContext,
): Promise<number | undefined> {
  const began = performance.now();
  let last = -1;
  while (!interrupt.happened) {
    const left = matching(await director.services(), place).reduce((sum, { server }) => sum + server.active, 0);
    const waited = (performance.now() - began) / 1000;
    if (left !== last) {
      const after = last < 0 ? "" : ` after ${duration(Math.round(waited))}`;
      context.stdout.write(left === 0 ? `no connections are left${after}\n` : `${countOf(left)} left${after}\n`);
    }
    last = left;
    if (left === 0) return 0;
    if (waited >= limit) {
      context.stderr.write(`wlvs: after ${limit} s ${countOf(left)} left\n`);
      return 1;
    }
    await interrupt.sleep(Math.min(POLL_MS, (limit - waited) * 1000));
  }
  return undefined;
}

function countOf(left: number): string {
  return left === 1 ? "1 connection is" : `${left} connections are`;
}

/** Somebody who gives up wants things to be as they were, but for what others have changed meanwhile. */
async function giveBack(
  director: RemoteIpvs,
  place: Place,
  weighed: ReturnType<typeof matching>,
  context: CliContext,
): Promise<number> {
  const now = new Map(
    matching(await director.tables(), place).map((one) => [
      `${serviceKey(one.service.id)} ${serverKey(one.server.id)}`,
      one,
    ]),
  );
  const steps = weighed.flatMap(({ service, server }) => {
    const there = now.get(`${serviceKey(service.id)} ${serverKey(server.id)}`);
    return there === undefined || there.server.weight !== 0 ? [] : weightStep(there, server.weight);
  });
  if (steps.length > 0) await director.transaction(steps);
  context.stderr.write("wlvs: interrupted: the weights are as they were\n");
  return INTERRUPTED;
}

function weightStep({ service, server }: ReturnType<typeof matching>[number], weight: number): IpvsStep {
  const { id, forwarding, upperThreshold, lowerThreshold, tunnel } = server;
  return {
    do: "editServer",
    service: service.id,
    server: { id, forwarding, weight, upperThreshold, lowerThreshold, tunnel },
  };
}

/** Ctrl-C, or whoever else ends us, while there is something to undo. */
class Interrupt {
  happened = false;
  private wake: () => void = () => {};
  private readonly handler = () => {
    this.happened = true;
    this.wake();
  };

  constructor() {
    process.on("SIGINT", this.handler);
    process.on("SIGTERM", this.handler);
  }

  sleep(ms: number): Promise<void> {
    if (this.happened) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  close(): void {
    process.off("SIGINT", this.handler);
    process.off("SIGTERM", this.handler);
  }
}
