/** What wlvsadm and its companions need of this process; loaded on every call, so it imports little. */
import { basename } from "node:path";
import type { IpvsadmIo } from "../ipvs/command.js";
import type { Ipvs } from "../ipvs/model.js";
import { put } from "./put.js";
import { packageVersion } from "./version.js";

/** The name that the program was called by: messages tell it. */
export function programName(): string {
  return basename(process.argv[1] ?? "wlvsadm", ".js");
}

export function processIo(): IpvsadmIo {
  // A reader that has seen enough, as head(1), is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit();
  });
  return {
    stdin: readStdin,
    stdout: (text) => put(process.stdout, text),
    stderr: (text) => void process.stderr.write(text),
    program: programName(),
    version: packageVersion,
  };
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** The director behind $WLVS_SOCKET, or /run/wlvs.sock. */
export async function runningDirector(): Promise<Ipvs> {
  const { RemoteIpvs, socketPath } = await import("../control/client.js");
  return new RemoteIpvs(socketPath(process.env));
}
