/** Threads of workers. One is started before it is known what it is to do, and loads while that is found out. */
import { Worker as Thread } from "node:worker_threads";

/** What a thread is given as its data when it is to be a worker; what kind of one, it is sent. */
export const WORKER = "wlvs-worker";

export function startThread(index: number): Thread {
  return new Thread(new URL(`./worker${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url), {
    name: `${WORKER}-${index}`,
    workerData: WORKER,
  });
}
