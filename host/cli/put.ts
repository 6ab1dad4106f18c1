/** Text for a reader at its own pace. */
import type { TextSink } from "./context.js";

/**
 * Writes; where the reader does not follow, the promise that it has taken what was written. Whoever has more to write than
 * memory should hold waits for that.
 */
export function put(sink: TextSink, text: string): Promise<void> | undefined {
  const { once } = sink;
  if (sink.write(text) !== false || once === undefined) return undefined;
  // A reader that goes away instead ends the process: the stream's error.
  return new Promise((resolve) => once.call(sink, "drain", resolve));
}
