/** `wlvs realserver`: makes this machine a real server of direct routing or tunnelling, for as long as it runs. */
import { isIP, isIPv6 } from "node:net";
import type { Command } from "commander";
import { hostAddress } from "../../config/values.js";
import { usage } from "../../errors.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";

interface Options {
  readonly vip: string;
  readonly print?: boolean;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("realserver")
    .summary("make this machine a real server")
    .description(
      "Gives this machine the virtual address, quietly, as a real server of direct routing (dr) or tunnelling (tun)\n" +
        "has it, and puts everything back when it ends. Real servers of nat need only a route through the director.",
    )
    .argument("<method>", "dr or tun")
    .requiredOption("--vip <address>", "the virtual address")
    .option("--print", "only print the commands that do it")
    .action(async (method: string, options: Options) => {
      if (method !== "dr" && method !== "tun") throw usage(`realserver: dr or tun, not '${method}'`);
      const vip = /^\[(.*:.*)\]$/.exec(options.vip)?.[1] ?? options.vip;
      if (isIP(vip) === 0) throw usage(`realserver --vip: not an address: ${options.vip}`);
      hostAddress("realserver --vip", vip);
      if (method === "tun" && isIPv6(vip) && !options.print) {
        throw usage("realserver tun: IPv6 virtual addresses are not built yet (--print shows the commands)");
      }
      const { planText, prepare, realServerPlan } = await import("../../realserver/prepare.js");
      const plan = realServerPlan(method, vip);
      if (options.print) {
        context.stdout.write(planText(plan));
        return;
      }
      const decapsulator =
        method === "tun" ? (await import("../../realserver/decapsulator.js")).openDecapsulator() : undefined;
      const signal = awaitSignal();
      try {
        const putBack = prepare(plan);
        try {
          context.stdout.write(`wlvs: ready, ${vip} is on ${plan.device}; Ctrl-C puts it back\n`);
          await signal.ended;
        } finally {
          putBack();
        }
      } finally {
        signal.stop();
        await decapsulator?.close();
      }
    });
  examples(
    command,
    "wlvs realserver dr --vip 192.168.4.133\nwlvs realserver tun --vip 192.168.4.133\nwlvs realserver dr --vip 192.168.4.133 --print",
  );
}

/** `ended` resolves when the process is asked to end; until then, or until `stop`, it runs. */
function awaitSignal(): { readonly ended: Promise<void>; stop(): void } {
  const idle = setInterval(() => {}, 0x7fffffff);
  const ended = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
  });
  return { ended, stop: () => clearInterval(idle) };
}
