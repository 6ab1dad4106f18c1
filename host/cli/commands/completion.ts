/** `wlvs completion`: what a shell needs to complete command lines, and what it asks for meanwhile. */
import type { Command } from "commander";
import { endpoint } from "../../control/keys.js";
import { usage } from "../../errors.js";
import type { ServiceInfo } from "../../ipvs/model.js";
import { LISTS, type ListName, SHELLS } from "../completion/values.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";

interface Options {
  readonly for?: string;
  readonly list?: string;
  readonly socket?: string;
}

export function register(program: Command, context: CliContext, whole: () => Promise<Command>): void {
  const command = program
    .command("completion")
    .summary("completion of command lines for bash, zsh and fish")
    .description("Prints what a shell needs to complete the command lines of wlvs or wlvsadm.")
    .argument("[shell]", "bash, zsh or fish")
    .option("--for <program>", "wlvs or wlvsadm (wlvs)")
    .option("--list <kind>", `print names of the running director instead: ${LISTS.join(", ")}`)
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .action(async (shell: string | undefined, options: Options) => {
      if (options.list !== undefined) {
        const list = LISTS.find((name) => name === options.list);
        if (list === undefined) throw usage(`completion --list ${options.list}: write one of ${LISTS.join(", ")}`);
        const services = await (await context.director(options.socket)).services();
        for (const name of new Set(namesOf(list, services))) context.stdout.write(`${name}\n`);
        return;
      }
      const known = SHELLS.find((name) => name === shell);
      if (known === undefined) {
        throw usage(`completion: ${SHELLS.join(", ")}${shell === undefined ? "" : `, not '${shell}'`}`);
      }
      const name = options.for ?? "wlvs";
      if (name !== "wlvs" && name !== "wlvsadm") throw usage(`completion --for: wlvs or wlvsadm, not '${name}'`);
      context.stdout.write(await script(known, name, whole));
    });
  examples(
    command,
    "source <(wlvs completion bash); source <(wlvs completion bash --for wlvsadm)\n" +
      "wlvs completion zsh > ~/.zfunc/_wlvs\n" +
      "wlvs completion fish > ~/.config/fish/completions/wlvs.fish",
  );
}

async function script(
  shell: (typeof SHELLS)[number],
  name: "wlvs" | "wlvsadm",
  whole: () => Promise<Command>,
): Promise<string> {
  const [bash, zsh, fish] = await Promise.all([
    import("../completion/bash.js"),
    import("../completion/zsh.js"),
    import("../completion/fish.js"),
  ]);
  if (name === "wlvs") {
    const { modelOf } = await import("../model.js");
    const model = modelOf(await whole());
    const make = { bash: bash.bashOfCommands, zsh: zsh.zshOfCommands, fish: fish.fishOfCommands }[shell];
    return make(name, model);
  }
  const { wlvsadmOptions } = await import("../wlvsadm-model.js");
  return { bash: bash.bashOfOptions, zsh: zsh.zshOfOptions, fish: fish.fishOfOptions }[shell](name, wlvsadmOptions());
}

function namesOf(list: ListName, services: readonly ServiceInfo[]): string[] {
  switch (list) {
    case "servers":
      return services.flatMap(({ servers }) => servers.map(({ id }) => endpoint(id.family, id.address, id.port)));
    case "addresses":
      return services.flatMap(({ servers }) => servers.map(({ id }) => id.address));
    case "marks":
      return services.flatMap(({ id }) => ("mark" in id ? [`${id.mark}`] : []));
    default: {
      const protocol = list.slice(0, list.indexOf("-"));
      return services.flatMap(({ id }) =>
        "mark" in id || id.protocol !== protocol ? [] : [endpoint(id.family, id.address, id.port)],
      );
    }
  }
}
