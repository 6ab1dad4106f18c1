import { expect, test } from "vitest";
import { fuzzTexts } from "./texts.js";

const seconds = Math.min(Number(process.env.WLVS_FUZZ_SECONDS ?? 5), 12);
const seed = Number(process.env.WLVS_FUZZ_SEED ?? Math.floor(Date.now() / 86_400_000) * 1_000_000);

test(`what people and programs write is taken or refused, never half, for ${seconds} s`, async () => {
  // So many that each kind is refused and taken for certain: of keepalived.conf one in 25 is refused.
  const report = await fuzzTexts({ seed, seconds, least: 2000 });
  console.log(`fuzz: ${report.inputs} texts from seed ${seed}: ${JSON.stringify(report.kinds)}`);
  expect(report.failure).toBeUndefined();
  for (const { taken, refused } of Object.values(report.kinds)) {
    expect(taken).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(0);
  }
});
