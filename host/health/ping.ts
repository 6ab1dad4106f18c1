/** The server's system answers an ICMP echo request. */
import { randomBytes } from "node:crypto";
import { addressBytes } from "../address.js";
import { errnoName, errnoText } from "../errors.js";
import { type IcmpSocket, readEcho, sendEcho } from "../port/icmp.js";
import { type Checker, type Problem, problemOf } from "./checker.js";

/** Nothing in Node tells when a raw socket can be read, so it is looked at so often while an answer is awaited. */
const LOOK_MS = 10;
const TOKEN = 16;

export function createPing(sockets: readonly IcmpSocket[]): Checker {
  const waiting = new Map<string, (problem: Problem) => void>();
  const buffer = new Uint8Array(2048);
  let looking = false;
  const lookSoon = () => {
    if (looking) return;
    looking = true;
    setTimeout(look, LOOK_MS);
  };
  const look = () => {
    looking = false;
    for (const socket of sockets) {
      for (let data = readEcho(socket, buffer); data !== undefined; data = readEcho(socket, buffer)) {
        const token = Buffer.from(data.subarray(0, TOKEN)).toString("hex");
        const done = waiting.get(token);
        waiting.delete(token);
        done?.(undefined);
      }
    }
    if (waiting.size > 0) lookSoon();
  };
  return {
    begin(target, done) {
      const socket = sockets.find(({ family }) => family === target.family);
      if (socket === undefined) {
        done("ping is not permitted here: start wlvs as root");
        return () => {};
      }
      const data = randomBytes(TOKEN);
      const errno = sendEcho(socket, addressBytes(target.address).bytes, process.pid, data);
      if (errno !== 0) {
        done(problemOf(Object.assign(new Error(errnoText(errno)), { code: errnoName(errno) })));
        return () => {};
      }
      const token = data.toString("hex");
      waiting.set(token, done);
      lookSoon();
      return () => void waiting.delete(token);
    },
  };
}
