/** What only a bug would do, on demand: tests see that it is survived. Nothing but a test writes the words. */
import * as Fault from "./layout/fault";
import * as Memory from "./layout/memory";
import { acquire, release } from "./table/lock";
import { setWord, word } from "./table/memory";

const FAULT: usize = Memory.LAYOUT_BASE + Memory.FAULT;

/** Does what `FAULT` asks of this worker, under the lock. */
export function provoke(worker: u32): void {
  if (word(Memory.FAULT_WORKER) !== worker) return;
  const fault = word(Memory.FAULT);
  setWord(Memory.FAULT, Fault.NONE);
  if (fault === Fault.TRAP) unreachable();
  if (fault === Fault.HANG_APART) release();
  // It reads what others may write, so that it is no loop without an end for the compiler.
  while (atomic.load<u32>(FAULT) === <u32>Fault.NONE) {}
  if (fault === Fault.HANG_APART) acquire(worker);
}
