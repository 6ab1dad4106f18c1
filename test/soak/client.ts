/**
 * One kind of traffic, from the client's namespace: node client.js '{"kind": ...}'. Every answer is looked at. Writes
 * a line of JSON each second (what was done in it), and one for each failure with the time that it began and ended.
 * Ends when its standard input does: what is on its way is finished first.
 */
import { createHash } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { type ClientReport, type ClientSpec, patternFrom } from "./traffic.js";

const spec = JSON.parse(process.argv[2]!) as ClientSpec;
/** Bytes that a busy stream sends at a time. */
const PIECE = 65_000;
const TRIES = 3;
const UDP_SIZES = [1, 64, 512, 1200, 1472, 4000, 8900];
let ending = false;
let done = 0;
let bytes = 0;
/** Datagrams that were sent once more. */
let again = 0;

const say = (report: ClientReport) => process.stdout.write(`${JSON.stringify(report)}\n`);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function fail(began: number, what: string): void {
  say({ name: spec.name, failure: what, began, ended: Date.now() });
}

/** A page, to the end; what is wrong with it, or undefined. */
function page(agent: Agent | false, path: string, from: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { host: spec.host, port: spec.port, path, localAddress: from, timeout: spec.timeoutMs };
    const asked = request({ ...options, agent }, (response) => {
      const hash = createHash("sha256");
      let text = "";
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (spec.sha256 === undefined) text += chunk.toString("latin1");
        else hash.update(chunk);
      });
      response.on("error", (error) => resolve(`the answer broke off: ${error.message}`));
      response.on("end", () => {
        if (response.statusCode !== 200) resolve(`status ${response.statusCode}`);
        else if (spec.sha256 === undefined) resolve(/^I am s\d\n$/.test(text) ? undefined : `another page: ${text}`);
        else resolve(hash.digest("hex") === spec.sha256 ? undefined : "the file has other bytes");
      });
    });
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${spec.timeoutMs} ms`)));
    asked.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asked.end();
  });
}

/** One visitor after the other: each asks for some pages over one connection, or over a new one each time. */
async function visit(from: string): Promise<void> {
  while (!ending) {
    const agent = spec.keepAlive === 1 ? false : new Agent({ keepAlive: true, maxSockets: 1 });
    for (let n = 0; n < (spec.keepAlive ?? 1) && !ending; n++) {
      const began = Date.now();
      const problem = await page(agent, spec.sha256 === undefined ? "/" : "/file", from);
      if (problem === undefined) done++;
      else {
        fail(began, problem);
        break;
      }
      await pause(spec.pauseMs);
    }
    if (agent !== false) agent.destroy();
  }
}

/** One connection for as long as the run: what is sent comes back, byte for byte. */
function stream(index: number, from: string): Promise<void> {
  return new Promise((resolve) => {
    const began = Date.now();
    // Some hold a connection and hardly use it.
    const large = index % 4 !== 0;
    const socket = connect({ host: spec.host, port: spec.port, localAddress: from });
    let sent = 0;
    let heard = 0;
    let last = Date.now();
    const end = (problem?: string) => {
      clearInterval(timer);
      if (problem !== undefined) fail(began, `${problem} after ${heard} of ${sent} bytes`);
      socket.destroy();
      resolve();
    };
    const timer = setInterval(
      () => {
        if (heard < sent && Date.now() - last > spec.timeoutMs) return end("nothing came back");
        if (ending) {
          if (heard === sent) end();
          return;
        }
        // What is on its way is bounded.
        if (sent - heard > 4 * PIECE) return;
        if (heard === sent) last = Date.now();
        // The server says everything back, so the place in the pattern follows from the count alone.
        const piece = patternFrom(sent, large ? PIECE : 1);
        sent += piece.length;
        socket.write(piece);
      },
      large ? spec.pauseMs : 1000,
    );
    socket.on("data", (chunk) => {
      last = Date.now();
      if (!chunk.equals(patternFrom(heard, chunk.length))) return end("other bytes came back");
      heard += chunk.length;
      bytes += chunk.length;
      done++;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    socket.on("close", () => end(ending && heard === sent ? undefined : "closed"));
  });
}

/** Whether it was answered: whoever uses datagrams asks again, as resolvers do. */
function ask(socket: UdpSocket, text: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    let tries = 1;
    const end = (answered: boolean) => {
      clearInterval(timer);
      socket.removeAllListeners("message");
      resolve(answered);
    };
    const timer = setInterval(() => {
      if (tries++ === TRIES) return end(false);
      again++;
      socket.send(text, spec.port, spec.host);
    }, spec.timeoutMs / TRIES);
    socket.on("message", (back) => {
      if (back.equals(text)) end(true);
    });
    socket.send(text, spec.port, spec.host);
  });
}

/** Questions and answers; a socket, and with it a client's port, lasts for some of them. */
async function converse(index: number, from: string): Promise<void> {
  let number = 0;
  while (!ending) {
    const socket = createSocket("udp4");
    socket.on("error", () => {});
    await new Promise<void>((resolve) => socket.bind(0, from, resolve));
    for (let n = 0; n < 40 && !ending; n++) {
      const began = Date.now();
      const size = UDP_SIZES[number++ % UDP_SIZES.length]!;
      const text = Buffer.from(`${index} ${number} `.padEnd(size, "wlvs ")).subarray(0, size);
      if (await ask(socket, text)) {
        done++;
        bytes += text.length;
      } else fail(began, `no answer to ${size} bytes within ${spec.timeoutMs} ms`);
      await pause(spec.pauseMs);
    }
    socket.close();
  }
}

process.stdin.on("end", () => (ending = true)).resume();
process.on("SIGINT", () => {});
setInterval(() => {
  say({ name: spec.name, done, bytes, again });
  done = bytes = again = 0;
}, 1000).unref();

const play = { pages: (_: number, from: string) => visit(from), streams: stream, datagrams: converse }[spec.kind];
await Promise.all(Array.from({ length: spec.count }, (_, n) => play(n, spec.from[n % spec.from.length]!)));
say({ name: spec.name, done, bytes, again });
process.exit(0);
