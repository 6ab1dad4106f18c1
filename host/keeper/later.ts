/** What a director loads when its frames flow already. */
export { diffTables, stepText, tablesOf } from "../config/diff.js";
export { runningTuning, tuningOf, tuningTexts } from "../config/tuning.js";
export { Passive } from "../health/passive.js";
export { targetsOf } from "../health/service-health.js";
export { ProcfsWriter } from "../metrics/procfs.js";
export { StateWriter } from "../state/writer.js";
export { Tracer } from "../trace/tracer.js";
export { observed, TABLE_CHANGES, withHeld } from "./changes.js";
export { FloodWatch } from "./flood-watch.js";
export { EngineInfo } from "./info.js";
export { applyConfig } from "./reload.js";
export { stateText } from "./state.js";
export { Throttle, tableOf } from "./tables-report.js";
