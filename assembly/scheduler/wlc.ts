/** Weighted least connection: the least overhead per weight. */
export { leastLoaded as pick } from "./servers";
