/** A terminal that is drawn on as a whole, and given back as it was, however the process ends. */
import type { ReadStream, WriteStream } from "node:tty";
import type { Size } from "./screen.js";

const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** As shells have it for a process that a signal ended. */
const SIGNAL_STATUS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export class Terminal {
  private readonly input: ReadStream;
  private readonly output: WriteStream;
  private readonly resized: () => void;
  private readonly typed: (text: string) => void;
  private isOpen = true;
  private readonly onExit = () => this.close();
  private readonly onSignal = (signal: (typeof SIGNALS)[number]) => {
    this.close();
    process.exit(SIGNAL_STATUS[signal]);
  };

  constructor(input: ReadStream, output: WriteStream, on: { resized(): void; typed(text: string): void }) {
    this.input = input;
    this.output = output;
    this.resized = on.resized;
    this.typed = on.typed;
    // An error that nobody catches ends the process by way of "exit", too.
    process.on("exit", this.onExit);
    for (const signal of SIGNALS) process.on(signal, this.onSignal);
    input.setRawMode(true);
    input.setEncoding("utf8");
    input.on("data", this.typed);
    output.on("resize", this.resized);
    output.write(ENTER);
  }

  /** Asked of the terminal each time: of two changes that come together only one is told. */
  get size(): Size {
    const [columns, rows] = this.output.getWindowSize();
    return { columns: columns || 80, rows: rows || 24 };
  }

  draw(lines: readonly string[]): void {
    if (this.isOpen) this.output.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`);
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    process.off("exit", this.onExit);
    for (const signal of SIGNALS) process.off(signal, this.onSignal);
    this.input.off("data", this.typed);
    this.output.off("resize", this.resized);
    this.output.write(LEAVE);
    if (!this.input.destroyed) this.input.setRawMode(false);
    this.input.pause();
  }
}
