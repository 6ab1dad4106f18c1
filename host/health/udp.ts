/** UDP: something is sent, and either the right answer comes, or at least no refusal. */
import { createSocket, type Socket } from "node:dgram";
import type { Family } from "../ipvs/model.js";
import { type Abandon, type Checker, type Problem, problemOf, type Target } from "./checker.js";

/** One datagram to a server, from a socket that hears that server alone, refusals included. */
export function exchange(
  { family, address, port }: { readonly family: Family; readonly address: string; readonly port: number },
  data: Uint8Array,
  answered: (message: Buffer) => void,
  failed: (problem: Problem) => void,
): Abandon {
  let socket: Socket | undefined = createSocket(family === 6 ? "udp6" : "udp4");
  const close = () => {
    socket?.removeAllListeners().on("error", () => {});
    socket?.close();
    socket = undefined;
  };
  socket.on("error", (error) => {
    close();
    failed(problemOf(error));
  });
  socket.on("message", (message) => {
    if (socket !== undefined) answered(message);
  });
  socket.connect(port, address, () => socket?.send(data));
  return close;
}

export const udp: Checker = {
  begin(target: Target, done) {
    const spec = target.spec as Extract<Target["spec"], { type: "udp" }>;
    const { expect } = spec;
    let quiet: NodeJS.Timeout | undefined;
    const finish = (problem: Problem) => {
      clearTimeout(quiet);
      close();
      done(problem);
    };
    const close = exchange(
      target,
      Buffer.from(spec.send),
      (message) => {
        if (expect === undefined || message.includes(expect)) finish(undefined);
        else finish(`the answer lacks "${expect}"`);
      },
      finish,
    );
    // A server that says nothing is well as far as anybody can tell: only a refusal tells otherwise.
    if (expect === undefined) quiet = setTimeout(() => finish(undefined), Math.max(1, spec.timeout - 20));
    return () => {
      clearTimeout(quiet);
      close();
    };
  },
};
