/** Long work in pieces. */
import { setImmediate as turn } from "node:timers/promises";

/** How long one piece of the work may keep everything else of this process waiting. */
const PIECE_MS = 3;

/** Lets the process do what else there is to do, whenever a piece of work has taken long enough. */
export class Pace {
  private began = performance.now();

  get isDue(): boolean {
    return performance.now() - this.began > PIECE_MS;
  }

  async rest(): Promise<void> {
    await turn();
    this.began = performance.now();
  }
}
