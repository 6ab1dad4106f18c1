// @ts-nocheck: AssemblyScript
/** The schedulers alone, for tests: the records are made by the test. */
import { used } from "../../assembly/scheduler/arena";
import { sip } from "../../assembly/scheduler/hash";
import { pick, serverAdded, serverEdited, serverRemoved, start, stop, tick } from "../../assembly/scheduler/index";

export { allocate, release } from "../../assembly/scheduler/arena";
export { pick, serverAdded, serverEdited, serverRemoved, sip, start, stop, tick, used };
