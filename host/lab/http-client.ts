/**
 * Asks for a page again and again, a new connection each time: `node http-client.js URL COUNT TIMEOUT_MS [EVERY_MS]`.
 * Runs inside a namespace and writes one line of JSON a request. With EVERY_MS a request begins so often, without it
 * when the one before has ended.
 */
import { request } from "node:http";

export interface Answer {
  /** The page, when there is one. */
  readonly page?: string;
  readonly status?: number;
  /** What the client's system said otherwise, in words. */
  readonly error?: string;
  readonly milliseconds: number;
  /** When it was asked, in milliseconds of the epoch. */
  readonly asked: number;
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network is unreachable",
  ETIMEDOUT: "timed out",
};

function ask(url: string, timeoutMs: number): Promise<Answer> {
  const started = performance.now();
  const asked = Date.now();
  return new Promise((resolve) => {
    let over = false;
    const done = (answer: Omit<Answer, "milliseconds" | "asked">) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      resolve({ ...answer, milliseconds: Math.round((performance.now() - started) * 10) / 10, asked });
    };
    const sent = request(url, { agent: false }, (response) => {
      let page = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (page += chunk));
      response.on("end", () => done({ page: page.trimEnd(), status: response.statusCode ?? 0 }));
      response.on("error", (error: NodeJS.ErrnoException) => done({ error: WORDS[error.code ?? ""] ?? error.message }));
    });
    const timer = setTimeout(() => {
      done({ error: `no answer within ${timeoutMs / 1000} s` });
      sent.destroy();
    }, timeoutMs);
    sent.on("error", (error: NodeJS.ErrnoException) => done({ error: WORDS[error.code ?? ""] ?? error.message }));
    sent.end();
  });
}

const [url, count, timeoutMs, everyMs] = process.argv.slice(2);
if (url !== undefined) {
  const running: Promise<void>[] = [];
  for (let left = Number(count); left > 0; left--) {
    const answer = ask(url, Number(timeoutMs)).then((given) => void process.stdout.write(`${JSON.stringify(given)}\n`));
    if (everyMs === undefined) await answer;
    else {
      running.push(answer);
      await new Promise((resolve) => setTimeout(resolve, Number(everyMs)));
    }
  }
  await Promise.all(running);
}
