/** Where a director's process begins: the thread of its first worker loads beside the director. */
import { startThread } from "../engine/thread.js";

const thread = startThread(0);
const { direct } = await import("./director.js");
direct(thread);
