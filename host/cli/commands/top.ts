/** `wlvs top`: the running director, live. */
import type { ReadStream, WriteStream } from "node:tty";
import type { Command } from "commander";
import type { RemoteIpvs } from "../../control/client.js";
import { oneLine, usage } from "../../errors.js";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";
import { type Sample, type View, viewOf } from "../top/sample.js";
import { INITIAL, picture, type ScreenState, type Sort, snapshotText } from "../top/screen.js";
import { Terminal } from "../top/terminal.js";

const INTERVAL_LEAST = 0.1;
const INTERVAL_MOST = 60;
const KEYS: Readonly<Record<string, Sort>> = {
  t: "table",
  c: "connections",
  p: "packets",
  b: "bytes",
  a: "active",
};
const HELP =
  "q quit  / filter  s servers  sort: t table, c conn/s, p packets, b bytes, a active  up/down, page up/down";

interface Options {
  readonly socket?: string;
  readonly interval: string;
  readonly once?: boolean;
  readonly json?: boolean;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("top")
    .summary("the running director, live")
    .description(
      "Shows services, real servers, ports, drops and workers of the running director, with rates, again and again.\n" +
        `Keys: ${HELP}.\n` +
        "Where its output is no terminal, and with --once or --json, it shows the rates of one interval and ends.",
    )
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .option("--interval <seconds>", "time between two looks", "1")
    .option("--once", "show it once, and end")
    .option("--json", "once, as JSON")
    .action(async (options: Options) => {
      const seconds = Number(options.interval);
      if (!(seconds >= INTERVAL_LEAST && seconds <= INTERVAL_MOST)) {
        throw usage(`--interval ${options.interval}: write seconds from ${INTERVAL_LEAST} to ${INTERVAL_MOST}`);
      }
      const director = await context.director(options.socket);
      const first = await sample(director);
      const [input, output] = [context.stdin as unknown as ReadStream, context.stdout as unknown as WriteStream];
      if (!options.once && !options.json && input.isTTY && output.isTTY) {
        await live(director, first, seconds * 1000, input, output);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      const view = viewOf(first, await sample(director));
      context.stdout.write(options.json ? `${JSON.stringify(view, null, 2)}\n` : snapshotText(view));
    });
  examples(command, "wlvs top\nwlvs top --interval 5\nwlvs top --once\nwlvs top --json | jq '.services[].connections'");
}

async function sample(director: RemoteIpvs): Promise<Sample> {
  const [status, counters, health, workers] = await Promise.all([
    director.status(),
    director.counters(),
    director.health(),
    director.workers(),
  ]);
  return { at: performance.now(), status, counters, health, workers };
}

/** What the keys change. `typing` is the filter while it is written. */
interface Place {
  state: ScreenState;
  typing: string | undefined;
}

/** True when it is enough. */
export function press(place: Place, key: string, page: number, scrollMost: number): boolean {
  const { state } = place;
  if (key === "\x03") return true;
  if (place.typing !== undefined) {
    if (key === "\r" || key === "\n") place.state = { ...state, filter: place.typing, scroll: 0 };
    if (key === "\r" || key === "\n" || key === "\x1b") place.typing = undefined;
    else if (key === "\x7f" || key === "\b") place.typing = place.typing.slice(0, -1);
    else if (/^[\x20-\x7e]+$/.test(key)) place.typing += key;
    return false;
  }
  const scrollTo = (line: number) => {
    place.state = { ...state, scroll: Math.max(0, Math.min(scrollMost, line)) };
  };
  if (key === "q") return true;
  if (key === "/") place.typing = "";
  else if (key === "s") place.state = { ...state, servers: !state.servers, scroll: 0 };
  else if (key === "\x1b[A") scrollTo(state.scroll - 1);
  else if (key === "\x1b[B") scrollTo(state.scroll + 1);
  else if (key === "\x1b[5~") scrollTo(state.scroll - page);
  else if (key === "\x1b[6~") scrollTo(state.scroll + page);
  else if (key === "\x1b") place.state = { ...state, filter: "" };
  else if (KEYS[key] !== undefined) place.state = { ...state, sort: KEYS[key]!, scroll: 0 };
  return false;
}

/** Keys that came in one piece: an escape sequence is one, what is typed fast or pasted are several. */
export function keysOf(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  return text.match(/\x1b\[[0-9;]*[A-Za-z~]|[\s\S]/g) ?? [];
}

function live(
  director: RemoteIpvs,
  first: Sample,
  intervalMs: number,
  input: ReadStream,
  output: WriteStream,
): Promise<void> {
  return new Promise((resolve) => {
    const place: Place = { state: INITIAL, typing: undefined };
    let last: Sample | undefined = first;
    let view: View = viewOf(first, first);
    let trouble = "";
    let scrollMost = 0;
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const draw = () => {
      const { sort, filter } = place.state;
      const chosen = `sort ${sort}${filter === "" ? "" : `, filter ${filter}`}`;
      const below = place.typing === undefined ? trouble || `[${chosen}]  ${HELP}` : `filter: ${place.typing}_`;
      const drawn = picture(view, place.state, terminal.size, below);
      scrollMost = drawn.scrollMost;
      terminal.draw(drawn.lines);
    };
    const look = async () => {
      const began = performance.now();
      try {
        const now = await sample(director);
        if (last !== undefined) view = viewOf(last, now);
        last = now;
        trouble = "";
      } catch (error) {
        // It may be starting again: what it counts then begins anew.
        trouble = oneLine(error);
        last = undefined;
      }
      if (over) return;
      draw();
      timer = setTimeout(look, Math.max(50, intervalMs - (performance.now() - began)));
    };
    const typed = (text: string) => {
      for (const key of keysOf(text)) {
        if (!press(place, key, Math.max(1, terminal.size.rows - 8), scrollMost)) continue;
        over = true;
        clearTimeout(timer);
        terminal.close();
        resolve();
        return;
      }
      draw();
    };
    const terminal = new Terminal(input, output, { resized: draw, typed });
    draw();
    timer = setTimeout(look, intervalMs);
  });
}
