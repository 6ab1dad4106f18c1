/** `--procfs DIR`: DIR/net/ip_vs and DIR/net/ip_vs_stats as the kernel would have them, for readers of files. */
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Ipvs, ServiceInfo } from "../ipvs/model.js";
import { ipVsPieces, ipVsStats } from "../ipvs/proc.js";
import { Pace } from "./pace.js";

/** How often the files are written; of thousands of services less often, so that it takes a twentieth of the time. */
const EVERY_MS = 1000;
const SHARE = 20;

export interface ProcfsSource extends Pick<Ipvs, "tableSize" | "totals"> {
  frozenServices(): { readonly services: Iterable<ServiceInfo> };
}

export class ProcfsWriter {
  private readonly directory: string;
  private readonly source: ProcfsSource;
  private readonly failed: (error: unknown) => void;
  private timer: NodeJS.Timeout | undefined;
  private writing: Promise<void> = Promise.resolve();
  private isClosed = false;
  private wasWell = true;

  /** `directory` is the `net` of DIR; `failed` is called once for a failure and what follows it, until it is over. */
  constructor(directory: string, source: ProcfsSource, failed: (error: unknown) => void) {
    this.directory = directory;
    this.source = source;
    this.failed = failed;
    this.start();
  }

  /** Resolves when nothing is written any more. */
  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.writing;
  }

  private start(): void {
    this.writing = this.turn();
  }

  private async turn(): Promise<void> {
    const began = performance.now();
    try {
      await this.write();
      this.wasWell = true;
    } catch (error) {
      if (this.wasWell) this.failed(error);
      this.wasWell = false;
    }
    const took = performance.now() - began;
    if (!this.isClosed) this.timer = setTimeout(() => this.start(), Math.max(EVERY_MS - took, took * SHARE));
  }

  private async write(): Promise<void> {
    const pace = new Pace();
    let text = "";
    for (const piece of ipVsPieces(await this.source.tableSize(), this.source.frozenServices().services)) {
      text += piece;
      if (pace.isDue) await pace.rest();
    }
    await this.replace("ip_vs", text);
    await this.replace("ip_vs_stats", await ipVsStats(this.source));
  }

  /** A reader has the old file or the new one, whole. */
  private async replace(name: string, text: string): Promise<void> {
    const path = join(this.directory, name);
    await writeFile(`${path}.new`, text, { mode: 0o644 });
    await rename(`${path}.new`, path);
  }
}
