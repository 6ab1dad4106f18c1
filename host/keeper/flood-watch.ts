/** Says in the log when the SYN proxy of a service begins or ends by itself. */
import { serviceKey } from "../control/keys.js";
import type { Tables } from "../core/tables.js";
import type { Logger } from "../log.js";

const PERIOD_MS = 1000;

export class FloodWatch {
  private readonly tables: Pick<Tables, "proxied">;
  private readonly log: Pick<Logger, "warn" | "info">;
  private readonly timer: NodeJS.Timeout;
  /** Services whose SYN proxy is at work. */
  private atWork = new Set<string>();

  constructor(tables: Pick<Tables, "proxied">, log: Pick<Logger, "warn" | "info">) {
    this.tables = tables;
    this.log = log;
    this.timer = setInterval(() => this.look(), PERIOD_MS);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  look(): void {
    const atWork = new Set<string>();
    for (const { id, halfOpen } of this.tables.proxied()) {
      const service = serviceKey(id);
      atWork.add(service);
      if (this.atWork.has(service)) continue;
      this.log.warn({ event: "proxy.on", service, halfOpen }, `${service}: the SYN proxy is at work`);
    }
    for (const service of this.atWork) {
      if (!atWork.has(service)) this.log.info({ event: "proxy.off", service }, `${service}: the SYN proxy rests`);
    }
    this.atWork = atWork;
  }
}
