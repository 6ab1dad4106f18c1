/** Server-sent events over fetch, which can tell why a stream was refused. Comes back by itself. */

export interface StreamHandlers {
  event(name: string, data: unknown): void;
  /** The stream is lost, or was refused; it is tried again in so many seconds. */
  lost(reason: string, retrySeconds: number): void;
}

/** No tick for so long: the other end is gone, even if nothing said so. */
const SILENCE_MS = 6000;
const FIRST_RETRY_S = 1;
const LONGEST_RETRY_S = 10;
/** No snapshot is larger; a stream that sends no end of an event is not ours. */
const LONGEST_EVENT = 64 * 1024 * 1024;

async function refusal(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error?: { message?: string } };
    return body.error?.message ?? `status ${response.status}`;
  } catch {
    return `status ${response.status}`;
  }
}

function dispatch(block: string, handlers: StreamHandlers): void {
  let name = "message";
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data !== "") handlers.event(name, JSON.parse(data));
}

async function read(path: string, handlers: StreamHandlers, alive: () => void): Promise<void> {
  const stop = new AbortController();
  let watchdog = setTimeout(() => stop.abort(), SILENCE_MS);
  try {
    const response = await fetch(path, { signal: stop.signal, cache: "no-store" });
    if (!response.ok || response.body === null) throw new Error(await refusal(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("the director closed the stream");
      clearTimeout(watchdog);
      watchdog = setTimeout(() => stop.abort(), SILENCE_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop()!;
      if (rest.length > LONGEST_EVENT) throw new Error("the stream is not the director's");
      for (const block of blocks) dispatch(block, handlers);
      if (blocks.length > 0) alive();
    }
  } catch (error) {
    if (stop.signal.aborted) throw new Error("the director is silent");
    if (error instanceof TypeError) throw new Error("the director cannot be reached");
    throw error;
  } finally {
    clearTimeout(watchdog);
    stop.abort();
  }
}

/** Reads for as long as the page lives. */
export async function follow(path: string, handlers: StreamHandlers): Promise<never> {
  let retry = FIRST_RETRY_S;
  for (;;) {
    try {
      await read(path, handlers, () => (retry = FIRST_RETRY_S));
    } catch (error) {
      handlers.lost((error as Error).message, retry);
    }
    await new Promise((resolve) => setTimeout(resolve, retry * 1000));
    retry = Math.min(LONGEST_RETRY_S, retry * 2);
  }
}
