/** A page that is left open: what it holds on to does not grow. WLVS_PAGE_MINUTES=10 looks for that long. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeEach, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";
import { launch, needsBrowser, open, screenshots } from "./browser.js";
import { Stage } from "./stage.js";

const MINUTES = Number(process.env.WLVS_PAGE_MINUTES ?? 0.25);
const SAMPLES = 12;
/** Charts fill up during the first ten minutes: so much may they take. */
const ALLOWED_BYTES = 1_500_000;

let browser: Browser | undefined;
let stage: Stage | undefined;

beforeEach((context) => {
  needsDevices(context);
  needsBrowser(context);
  needsCommands(context, "curl");
});

afterAll(async () => {
  await browser?.close();
  stage?.close();
});

it("holds no more after a while than at first", { timeout: 60_000 + MINUTES * 90_000 }, async () => {
  stage = new Stage();
  await stage.start("--listen-admin");
  await stage.serve();
  stage.traffic("0.05", MINUTES * 60 + 60);
  browser = await launch();
  const { page, complaints } = await open(browser, stage.url);
  await page.locator("#stream .text", { hasText: "live" }).waitFor();
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const sample = async () => {
    // What one collection sets free may keep something else alive until the next.
    for (let n = 0; n < 2; n++) await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    const { metrics } = await session.send("Performance.getMetrics");
    return { bytes: usedSize, nodes: metrics.find(({ name }) => name === "Nodes")!.value };
  };
  const views = ["traffic", "connections", "path", "services"];
  const visit = async () => {
    for (const view of views) {
      await page.locator(`.tabs a[href="#${view}"]`).click();
      await page.waitForTimeout(300);
    }
  };
  // Everything has been made once.
  await visit();
  const found = [await sample()];
  for (let n = 1; n <= SAMPLES; n++) {
    await page.waitForTimeout(Math.max(0, (MINUTES * 60_000) / SAMPLES - 1300));
    await visit();
    found.push(await sample());
  }
  writeFileSync(join(screenshots, "memory.json"), JSON.stringify({ minutes: MINUTES, found }));
  const least = (part: typeof found, of: "bytes" | "nodes") => Math.min(...part.map((one) => one[of]));
  expect(least(found.slice(-3), "bytes")).toBeLessThan(least(found.slice(0, 3), "bytes") + ALLOWED_BYTES);
  expect(least(found.slice(-3), "nodes")).toBeLessThan(least(found.slice(0, 3), "nodes") * 1.2 + 200);
  expect(complaints).toEqual([]);
});
