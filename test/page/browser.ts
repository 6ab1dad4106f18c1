/** A real browser for the tests of the page, and all that it complained about. */
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import type { TestContext } from "vitest";
import { needsCommands } from "../support/needs.js";

const CHROMIUM = "/usr/bin/chromium";
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--js-flags=--expose-gc",
  "--enable-precise-memory-info",
];

/** Where screenshots go; WLVS_SCREENSHOTS names a folder that stays. */
export const screenshots = process.env.WLVS_SCREENSHOTS ?? mkdtempSync(join(tmpdir(), "wlvs-page-"));

export function needsBrowser(context: TestContext): void {
  needsCommands(context, "chromium");
}

export function hasBrowser(): boolean {
  return existsSync(CHROMIUM);
}

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}

export interface View {
  readonly page: Page;
  /** Console errors, exceptions, failed requests, answers from 400 on, violations of the policy, requests elsewhere. */
  readonly complaints: string[];
}

export async function open(
  browser: Browser,
  url: string,
  options: { scheme?: "light" | "dark"; width?: number; height?: number; motion?: "reduce" } = {},
): Promise<View> {
  const { scheme = "light", width = 1280, height = 900, motion } = options;
  const page = await browser.newPage({
    viewport: { width, height },
    colorScheme: scheme,
    ...(motion !== undefined && { reducedMotion: motion }),
  });
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(`${error.stack}`));
  page.on("requestfailed", (request) => {
    const reason = request.failure()?.errorText;
    // A page that is left ends its stream.
    if (reason !== "net::ERR_ABORTED") complaints.push(`failed: ${request.url()} ${reason}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(new URL(url).origin)) complaints.push(`elsewhere: ${request.url()}`);
  });
  await page.addInitScript(
    "addEventListener('securitypolicyviolation', (event) => console.error('policy:', event.violatedDirective, event.blockedURI))",
  );
  await page.goto(url);
  return { page, complaints };
}

export async function shoot(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
}

/** How far the page is wider than its window: nothing may be. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate("document.documentElement.scrollWidth - innerWidth");
}

/**
 * What every view must have, looked up in the accessibility tree's sources: names of controls, heads with scope,
 * headings in order, labels that point at something, no element twice under one id.
 */
export function accessibilityProblems(page: Page): Promise<string[]> {
  return page.evaluate(`(() => {
    const problems = [];
    const seen = (element) => element.checkVisibility();
    const name = (element) =>
      element.getAttribute("aria-label") || element.textContent.trim() || element.title ||
      [...(element.labels ?? [])].map((label) => label.textContent.trim()).join(" ");
    for (const element of document.querySelectorAll("button, input, select, a[href], [role=button]")) {
      if (seen(element) && !name(element)) problems.push("no name: " + element.outerHTML.slice(0, 120));
    }
    for (const head of document.querySelectorAll("th")) {
      if (!head.closest(".u-legend") && !head.hasAttribute("scope")) problems.push("no scope: " + head.outerHTML.slice(0, 80));
    }
    for (const element of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
      if (!seen(element)) continue;
      for (const id of (element.getAttribute("aria-labelledby") ?? element.getAttribute("aria-describedby")).split(" ")) {
        if (document.getElementById(id) === null) problems.push("labelled by nothing: " + id);
      }
    }
    const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
    for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) problems.push("twice: " + id);
    let level = 0;
    for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
      if (!seen(heading)) continue;
      const next = Number(heading.tagName[1]);
      if (next > level + 1) problems.push("heading skips a level: " + heading.textContent);
      level = next;
    }
    for (const image of document.querySelectorAll("img:not([alt]), svg:not([aria-hidden]):not([role]), canvas:not([role])")) {
      if (seen(image)) problems.push("picture without a role: " + image.outerHTML.slice(0, 80));
    }
    if (!document.documentElement.lang) problems.push("no language");
    return problems;
  })()`);
}

/** Texts whose contrast with what is behind them is under 4.5 (3 for large ones): WCAG AA. */
export function contrastProblems(page: Page): Promise<string[]> {
  return page.evaluate(`(() => {
    const problems = new Set();
    const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => {
      const [x, y, z] = [r, g, b].map((value) => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const element = node.parentElement;
      if (node.textContent.trim() === "" || !element.checkVisibility() || element.closest("option, noscript, .skip, .sr, :disabled, svg")) continue;
      let behind = element;
      let ground = [0, 0, 0, 0];
      for (; behind !== null; behind = behind.parentElement) {
        ground = parse(getComputedStyle(behind).backgroundColor);
        if (ground.length === 3 || ground[3] === 1) break;
      }
      const style = getComputedStyle(element);
      const [a, b] = [light(parse(style.color)), light(ground)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      const size = parseFloat(style.fontSize);
      const least = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
      if (ratio < least) problems.add(node.textContent.trim().slice(0, 40) + " " + ratio.toFixed(2) + " " + style.color + " on " + ground);
    }
    return [...problems];
  })()`);
}
