/** The page's files, from the package: read once, served with a strict policy. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import type { FastifyInstance } from "fastify";
import { LvsError } from "../errors.js";

/** Compiled, beside this file; when its source runs, where the build puts it. */
const FOLDERS = ["../page", "../../dist/host/page"].map((path) => join(import.meta.dirname, path));
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Nothing but what this director serves itself; nothing inline. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HEADERS = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  // Asked for anew each time, and answered with 304: a page never mixes two versions.
  "cache-control": "no-cache",
};

interface Asset {
  readonly body: Buffer;
  readonly type: string;
  readonly etag: string;
}

function assetOf(path: string): Asset {
  const body = readFileSync(path);
  const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 27)}"`;
  return { body, type: TYPES[extname(path)]!, etag };
}

function assets(): Map<string, Asset> {
  const found = new Map<string, Asset>();
  const folder = FOLDERS.find((path) => existsSync(join(path, "main.js")));
  if (folder === undefined) throw new LvsError("ERR_LVS_FILE", "the page is not built: npm run build");
  for (const name of readdirSync(folder)) {
    if (TYPES[extname(name)] === undefined) continue;
    found.set(name === "index.html" ? "/" : `/page/${name}`, assetOf(join(folder, name)));
  }
  const { resolve } = createRequire(import.meta.url);
  found.set("/page/uplot.js", assetOf(resolve("uplot/dist/uPlot.esm.js")));
  found.set("/page/uplot.css", assetOf(resolve("uplot/dist/uPlot.min.css")));
  return found;
}

/** Adds the page's routes. Throws when the page is not built. */
export function servePage(app: FastifyInstance): void {
  for (const [path, { body, type, etag }] of assets()) {
    app.get(path, (request, reply) => {
      reply.headers(HEADERS).header("etag", etag);
      if (request.headers["if-none-match"] === etag) return reply.code(304).send();
      return reply.type(type).send(body);
    });
  }
}
