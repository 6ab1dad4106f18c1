/** The page as an operator uses it: a real browser, a real director, real traffic. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";
import {
  accessibilityProblems,
  contrastProblems,
  hasBrowser,
  launch,
  needsBrowser,
  open,
  overflow,
  shoot,
  type View,
} from "./browser.js";
import { SERVERS, SERVICE, Stage, VIP } from "./stage.js";

let browser: Browser;
let stage: Stage | undefined;
const views: View[] = [];

async function show(hash = "", options: Parameters<typeof open>[2] = {}): Promise<Page> {
  const view = await open(browser, `${stage!.url}${hash}`, options);
  views.push(view);
  await view.page.locator("#stream .text", { hasText: "live" }).waitFor({ timeout: 40_000 });
  return view.page;
}

const row = (page: Page, name: string) => page.locator("#services-table tbody tr", { hasText: name });
const server = (page: Page, at: number) => row(page, `${SERVERS[at]}:80`);

/** As wlvsadm does it: over the control socket. */
async function setWeight(to: number): Promise<void> {
  const [service] = await stage!.remote.services();
  const { id, forwarding, upperThreshold, lowerThreshold, tunnel } = service!.servers[0]!;
  const server = { id, forwarding, upperThreshold, lowerThreshold, tunnel, weight: to };
  await stage!.remote.editServer(service!.id, server);
}

beforeAll(async () => {
  if (process.getuid?.() === 0 && hasBrowser()) browser = await launch();
});

beforeEach((context) => {
  needsDevices(context);
  needsBrowser(context);
  needsCommands(context, "curl");
});

afterEach(async () => {
  for (const { page, complaints } of views.splice(0)) {
    await page.close();
    expect(complaints).toEqual([]);
  }
});

afterAll(async () => {
  await browser?.close();
  stage?.close();
});

describe("the page of a director that takes changes", () => {
  beforeAll(async () => {
    if (process.getuid?.() !== 0) return;
    stage = new Stage();
    await stage.start("--listen-admin");
    await stage.serve();
    stage.traffic("0.1");
  });

  afterAll(() => {
    stage?.close();
    stage = undefined;
  });

  it.each([
    ["light", 1280],
    ["dark", 1280],
    ["light", 390],
    ["dark", 390],
  ] as const)("shows itself, %s, %d pixels wide", async (scheme, width) => {
    const page = await show("#services", { scheme, width, height: 844 });
    await page.locator("#services-table tr.server td.n", { hasText: /[1-9]/ }).first().waitFor();
    await expect.poll(() => row(page, SERVICE).locator("td").nth(5).textContent()).not.toBe("0");
    for (const view of ["services", "traffic", "connections"]) {
      await page.locator(`.tabs a[href="#${view}"]`).click();
      if (view === "traffic") await expect.poll(() => page.locator(".chart canvas").count()).toBe(5);
      if (view === "connections") {
        await page.locator("#connections-form button[type=submit]").click();
        await page.locator("#connections-table tbody tr").first().waitFor();
      }
      expect(await overflow(page), view).toBeLessThanOrEqual(0);
      expect(await accessibilityProblems(page), view).toEqual([]);
      expect(await contrastProblems(page), view).toEqual([]);
      await shoot(page, `${view}-${scheme}-${width}`);
    }
  });

  it("follows the switch of its theme, and keeps it", async () => {
    const page = await show("", { scheme: "light" });
    const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    expect(await ground()).toBe("rgb(244, 246, 248)");
    await page.getByLabel("Theme").selectOption("dark");
    expect(await ground()).toBe("rgb(14, 18, 23)");
    await page.reload();
    expect(await ground()).toBe("rgb(14, 18, 23)");
    await page.getByLabel("Theme").selectOption("system");
    expect(await ground()).toBe("rgb(244, 246, 248)");
  });

  /** Milliseconds until the page shows a weight that is set elsewhere: the least, others may have the processor for longer. */
  const shownAfter = async (page: Page) => {
    const weight = server(page, 0).locator("td.weight");
    const took: number[] = [];
    for (const to of [11, 12, 13]) {
      await setWeight(to);
      const began = performance.now();
      await expect.poll(() => weight.textContent(), { interval: 20 }).toBe(`${to}`);
      took.push(performance.now() - began);
    }
    await setWeight(1);
    await expect.poll(() => weight.textContent()).toBe("1");
    return Math.min(...took);
  };

  it("shows within a second what is changed elsewhere", async () => {
    expect(await shownAfter(await show())).toBeLessThan(1000);
  });

  it("shows the way of frames that pass just now, and how busy the workers are", async () => {
    const page = await show("#path", { motion: "reduce" });
    await walkLive(page, 5, "The real server gets it");
    await shoot(page, "path-live-1280");
    await page.locator('.tabs a[href="#services"]').click();
    const worker = page.locator("#workers-table tbody tr");
    await expect.poll(() => worker.locator("td.n").last().textContent()).toMatch(/^[1-9].*\/s$/);
    expect(await worker.locator("td.n").first().textContent()).toMatch(/^\d+\.\d %$/);
    expect(await worker.locator("meter").getAttribute("aria-label")).toBe("load of worker 0");
  });

  it("shows what is changed elsewhere as soon under full load", async (context) => {
    needsCommands(context, "wrk");
    const page = await show();
    stage!.network.start(stage!.client, "wrk", "-t1", "-c32", "-d12s", `http://${VIP}/`);
    await expect.poll(() => page.locator("#tiles .tile").nth(2).textContent()).toMatch(/k\/s/);
    expect(await shownAfter(page)).toBeLessThan(1000);
  });

  it("changes weights, drains, removes and adds, after asking", async () => {
    const page = await show();
    await server(page, 1).locator("button.open").click();
    const detail = page.locator("#detail");
    const confirm = page.locator("#confirm");
    await detail.getByLabel("Weight").fill("5");
    await detail.getByRole("button", { name: "Set weight" }).click();
    await confirm.getByText(`wlvsadm -e -t ${VIP}:80 -r ${SERVERS[1]}:80 -m -w 5`).waitFor();
    await shoot(page, "confirm");
    // Who says no changes nothing.
    await confirm.getByRole("button", { name: "Cancel" }).click();
    expect((await stage!.remote.services())[0]!.servers[1]!.weight).toBe(2);
    await detail.getByRole("button", { name: "Set weight" }).click();
    await confirm.getByRole("button", { name: "Set weight" }).click();
    await expect.poll(() => server(page, 1).locator("td.weight").textContent()).toBe("5");
    expect((await stage!.remote.services())[0]!.servers[1]!.weight).toBe(5);
    await detail.getByRole("button", { name: "Drain" }).click();
    await confirm.getByRole("button", { name: "Drain server" }).click();
    await detail.getByText(/Draining: \d+ connections are left|Drained: no connection is left/).waitFor();
    await shoot(page, "drain");
    await detail.getByRole("button", { name: "Remove server" }).click();
    await confirm.getByRole("button", { name: "Remove server" }).click();
    await expect.poll(() => server(page, 1).count()).toBe(0);
    await row(page, SERVICE).locator("button.open").click();
    await detail.getByLabel("Real server").fill("nonsense");
    await detail.getByRole("button", { name: "Add server" }).click();
    await detail.getByText("Write ADDRESS:PORT").waitFor();
    await detail.getByLabel("Real server").fill(`${SERVERS[1]}:80`);
    await detail.getByLabel("Weight").fill("2");
    await detail.getByRole("button", { name: "Add server" }).click();
    await confirm.getByRole("button", { name: "Add server" }).click();
    await expect.poll(() => server(page, 1).locator("td.weight").textContent()).toBe("2");
    // What the director refuses is said where it was asked for.
    await detail.getByRole("button", { name: "Add server" }).click();
    await confirm.getByRole("button", { name: "Add server" }).click();
    await confirm.getByText("The director refuses: add server").waitFor();
    for (const text of views.at(-1)!.complaints.splice(0)) expect(text).toContain("409");
    await confirm.getByRole("button", { name: "Cancel" }).click();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Add service" }).click();
    await detail.getByLabel("Virtual address").fill(`${VIP}:8080`);
    await detail.getByLabel("Scheduler").selectOption("rr");
    await detail.getByRole("button", { name: "Add service" }).click();
    await confirm.getByRole("button", { name: "Add service" }).click();
    await expect.poll(() => row(page, `${VIP}:8080`).count()).toBe(1);
    await row(page, `${VIP}:8080`).locator("button.open").click();
    await detail.getByRole("button", { name: "Remove service" }).click();
    await confirm.getByRole("button", { name: "Remove service" }).click();
    await expect.poll(() => row(page, `${VIP}:8080`).count()).toBe(0);
    expect(await stage!.remote.services()).toHaveLength(1);
  });

  it("filters, sorts, folds and searches by keyboard alone", async () => {
    const page = await show();
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.className")).toBe("skip");
    await page.locator("#services-filter").focus();
    await page.keyboard.type("129 nat");
    await expect.poll(() => page.locator("#services-table tbody tr").count()).toBe(2);
    await page.keyboard.press("Control+a");
    await page.keyboard.type("nowhere");
    await page.getByText("Nothing here fits the filter.").waitFor();
    await page.keyboard.press("Control+a");
    await page.keyboard.press("Delete");
    const names = () => page.locator("#services-table tbody th").allTextContents();
    await page.locator("#services-table thead button", { hasText: "Weight" }).focus();
    await page.keyboard.press("Enter");
    expect(await names()).toEqual([SERVICE, `${SERVERS[1]}:80`, `${SERVERS[0]}:80`]);
    expect(await page.locator("#services-table thead th", { hasText: "Weight" }).getAttribute("aria-sort")).toBe(
      "descending",
    );
    await page.keyboard.press("Enter");
    expect(await names()).toEqual([SERVICE, `${SERVERS[0]}:80`, `${SERVERS[1]}:80`]);
    const fold = page.locator("#services-table button.fold").first();
    await fold.focus();
    await page.keyboard.press("Space");
    expect(await names()).toEqual([SERVICE]);
    expect(await fold.getAttribute("aria-expanded")).toBe("false");
    await page.keyboard.press("Space");
    await row(page, SERVICE).locator("button.open").focus();
    await page.keyboard.press("Enter");
    await page.locator("#detail[open]").waitFor();
    await page.keyboard.press("Escape");
    expect(await page.locator("#detail[open]").count()).toBe(0);
    // Where one was before.
    expect(await page.evaluate("document.activeElement.textContent")).toBe(SERVICE);
    const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
    expect(outline).toBe("solid");
    await page.locator('.tabs a[href="#connections"]').focus();
    await page.keyboard.press("Enter");
    const form = page.locator("#connections-form");
    await form.getByLabel("Real server").fill(`${SERVERS[0]}:80`);
    await page.keyboard.press("Enter");
    await page.locator("#connections-table tbody tr").first().waitFor();
    for (const text of await page.locator("#connections-table tbody td:nth-child(4)").allTextContents()) {
      expect(text).toBe(`${SERVERS[0]}:80`);
    }
    await form.getByLabel("Client").fill("not an address");
    await page.keyboard.press("Enter");
    await page.getByText("client=not an address: write ADDRESS").waitFor();
    for (const text of views.at(-1)!.complaints.splice(0)) expect(text).toContain("400");
  });
});

/** Watches what the director tells of its frames now, and goes through the first one's steps. */
async function walkLive(page: Page, steps: number, last: string): Promise<void> {
  await page.locator("#path-watch").click();
  await page.locator("#path-player").waitFor();
  await page.locator("#path-frames button").first().focus();
  for (let n = 1; n < steps; n++) {
    await page.keyboard.press("ArrowRight");
    expect(await page.locator("#path-place").textContent()).toContain(`step ${n + 1} of ${steps}`);
    if (n !== 2) continue;
    expect(await page.locator("#path-fields tr.changed").count()).toBeGreaterThan(0);
    await page.getByText("IP checksum, from the changed words (RFC 1624)").first().waitFor();
    expect(await page.getByText("The frame that left has another one.").count()).toBe(0);
  }
  expect(await page.locator("#path-step-title").textContent()).toBe(last);
}

/** What a lab's director told of one connection: the way of a frame in the methods that this stage does not have. */
const TOLD = (method: string) => readFileSync(join(import.meta.dirname, "frames", `${method}.ndjson`));

describe("the page of a director that is only read", () => {
  beforeAll(async () => {
    if (process.getuid?.() !== 0) return;
    stage = new Stage();
    await stage.start();
  });

  it("says why nothing can be changed, and the director takes nothing", async () => {
    const page = await show();
    await page.getByText("read-only", { exact: true }).waitFor();
    expect(await page.locator("#service-add").isVisible()).toBe(false);
    await server(page, 0).locator("button.open").click();
    await page.getByText("started without --listen-admin").waitFor();
    for (const name of ["Set weight", "Drain", "Remove server"]) {
      expect(await page.getByRole("button", { name }).isDisabled()).toBe(true);
    }
    await shoot(page, "read-only");
    const status = await page.evaluate("fetch('/v1/services', { method: 'DELETE' }).then(({ status }) => status)");
    expect(status).toBe(403);
    views.at(-1)!.complaints.length = 0;
    expect(await stage!.remote.services()).toHaveLength(1);
  });

  it("shows the way of frames of which it is told the headers alone", async () => {
    await stage!.serve();
    stage!.traffic("0.1");
    const page = await show("#path", { motion: "reduce" });
    await walkLive(page, 5, "The real server gets it");
  });

  it.each([
    ["nat", 5, "The real server gets it"],
    ["dr", 6, "The server answers directly"],
    ["tun", 6, "The server answers directly"],
  ] as const)("shows the way of a frame in %s, step by step, by keyboard", async (method, steps, last) => {
    const page = await show("#path", { motion: "reduce" });
    await page.route("**/v1/trace*", (route) =>
      route.fulfill({ body: TOLD(method), contentType: "application/x-ndjson" }),
    );
    await page.locator("#path-watch").click();
    await page.locator("#path-player").waitFor();
    const place = () => page.locator("#path-place").textContent();
    expect(await place()).toContain(`Frame 1 of`);
    await page.locator("#path-frames button").first().focus();
    for (let n = 1; n < steps; n++) {
      await page.keyboard.press("ArrowRight");
      expect(await place()).toContain(`step ${n + 1} of ${steps}`);
      if (n === 2) {
        expect(await page.locator("#path-fields tr.changed").count()).toBeGreaterThan(0);
        await page.getByText("IP checksum, from the changed words (RFC 1624)").first().waitFor();
        expect(await page.getByText("The frame that left has another one.").count()).toBe(0);
        await shoot(page, `path-${method}-1280`);
      }
    }
    expect(await page.locator("#path-step-title").textContent()).toBe(last);
    await shoot(page, `path-${method}-last-1280`);
    await page.keyboard.press("Home");
    expect(await place()).toContain("Frame 1 of");
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowLeft");
    await page.locator("#path-play").click();
    expect(await page.locator("#path-play").textContent()).toBe("Pause");
    await page.locator("#path-play").click();
    expect(await accessibilityProblems(page)).toEqual([]);
    expect(await contrastProblems(page)).toEqual([]);
    await page.setViewportSize({ width: 390, height: 844 });
    await page.locator('.topology[viewBox^="0 0 366"]').waitFor();
    expect(await overflow(page)).toBeLessThanOrEqual(0);
    await shoot(page, `path-${method}-390`);
  });

  it("says since when its stream is lost, and comes back", async () => {
    const page = await show();
    const pid = () => page.locator("#director").textContent();
    const before = await pid();
    await stage!.director!.stop();
    await page.getByText(/No live figures since \d\d:\d\d:\d\d/).waitFor();
    await shoot(page, "lost");
    await stage!.start();
    await page.locator("#banner").waitFor({ state: "hidden" });
    await expect.poll(pid).not.toBe(before);
    views.at(-1)!.complaints.length = 0;
  });
});
