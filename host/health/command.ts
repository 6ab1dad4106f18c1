/** An external command: status 0 says that the server is well. No shell, no descriptors, little environment. */
import { type ChildProcess, spawn } from "node:child_process";
import { keepDescriptors } from "../port/descriptors.js";
import { type Checker, problemOf, type Target } from "./checker.js";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** A program with `variables` and a PATH for its environment, in a process group of its own. */
export function startCommand(
  argv: readonly [string, ...string[]],
  variables: Readonly<Record<string, string>>,
): ChildProcess {
  const [program, ...args] = argv;
  keepDescriptors();
  return spawn(program, args, {
    cwd: "/",
    env: { PATH: process.env.PATH ?? PATH, ...variables },
    stdio: "ignore",
    detached: true,
  });
}

/** Ends a command and what it started. */
export function killCommand(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch {
    // Ended meanwhile.
  }
}

export const command: Checker = {
  begin(target, done) {
    const spec = target.spec as Extract<Target["spec"], { type: "command" }>;
    const child = startCommand(spec.argv, {
      VIP: target.virtual,
      VPORT: `${target.virtualPort}`,
      RIP: target.address,
      PORT: `${target.port}`,
    });
    let over = false;
    child.once("error", (error) => {
      if (over) return;
      over = true;
      done(problemOf(error));
    });
    child.once("exit", (status, signal) => {
      if (over) return;
      over = true;
      if (status === 0) done(undefined);
      else done(signal === null ? `status ${status}` : signal);
    });
    return () => {
      if (over) return;
      over = true;
      killCommand(child);
    };
  },
};
