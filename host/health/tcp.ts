/** Somebody accepts the connection. */
import { connect } from "node:net";
import { type Checker, problemOf } from "./checker.js";

export const tcp: Checker = {
  begin({ address, port }, done) {
    const socket = connect({ host: address, port });
    let over = false;
    socket.once("connect", () => {
      // A reset leaves no TIME_WAIT behind: thousands of checks a second would use up the ports.
      socket.resetAndDestroy();
      if (!over) done(undefined);
      over = true;
    });
    socket.on("error", (error) => {
      if (!over) done(problemOf(error));
      over = true;
    });
    return () => {
      over = true;
      socket.destroy();
    };
  },
};
