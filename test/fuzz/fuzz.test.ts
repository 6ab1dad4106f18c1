import { expect, test } from "vitest";
import { fuzz } from "./run.js";

const seconds = Number(process.env.WLVS_FUZZ_SECONDS ?? 5);
// A new seed every day, the same one for everybody; a failure names the one that shows it again.
const seed = Number(process.env.WLVS_FUZZ_SEED ?? Math.floor(Date.now() / 86_400_000) * 1_000_000);

test(`the core survives ${seconds} s of frames that are nearly right`, () => {
  const report = fuzz({ seed, seconds });
  console.log(`fuzz: ${report.scenarios} scenarios from seed ${seed}, ${report.frames} frames in, ${report.sent} out`);
  expect(report.failure).toBeUndefined();
  expect(report.scenarios).toBeGreaterThan(0);
});
