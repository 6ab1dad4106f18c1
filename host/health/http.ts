/** A page is there: its status, and, when asked for, its body. */
import { createHash } from "node:crypto";
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import { type Checker, type HttpCheck, type Problem, problemOf, type Target } from "./checker.js";

/** More of a body is not looked at. */
const BODY_MOST = 1024 * 1024;

export const http: Checker = {
  begin(target, done) {
    const spec = target.spec as HttpCheck;
    const options = optionsOf(target, spec);
    let over = false;
    const finish = (problem: Problem) => {
      if (over) return;
      over = true;
      sent.destroy();
      done(problem);
    };
    const sent = spec.type === "https" ? httpsRequest(options) : httpRequest(options);
    sent.on("error", (error) => finish(problemOf(error)));
    sent.once("response", (response) => {
      const status = response.statusCode ?? 0;
      if (!spec.status.some(([from, to]) => status >= from && status <= to)) finish(`status ${status}`);
      else readBody(response, spec, finish);
    });
    sent.end();
    return () => {
      over = true;
      sent.destroy();
    };
  },
};

function optionsOf({ address, port, family }: Target, spec: HttpCheck): RequestOptions {
  const named = family === 6 ? `[${address}]` : address;
  const standard = port === (spec.type === "https" ? 443 : 80);
  const common: RequestOptions = {
    host: address,
    port,
    path: spec.path,
    agent: false,
    headers: {
      host: spec.host ?? (standard ? named : `${named}:${port}`),
      "user-agent": "wlvs-health",
      connection: "close",
    },
  };
  if (spec.type === "http") return common;
  const name = spec.sni ?? spec.host?.replace(/:\d+$/, "");
  const tls = {
    rejectUnauthorized: spec.verify,
    // An address is no server name; without one the certificate has to name the address.
    servername: name !== undefined && isIP(name) === 0 ? name : "",
    ...(spec.ca !== undefined && { ca: spec.ca }),
  };
  return { ...common, ...tls };
}

function readBody(response: IncomingMessage, spec: HttpCheck, finish: (problem: Problem) => void): void {
  const { contains, matches, digest } = spec;
  if (contains === undefined && matches === undefined && digest === undefined) {
    finish(undefined);
    return;
  }
  const chunks: Buffer[] = [];
  let length = 0;
  response.on("data", (chunk: Buffer) => {
    length += chunk.length;
    chunks.push(chunk);
    if (length > BODY_MOST) finish(`the page is longer than ${BODY_MOST} bytes`);
  });
  response.on("error", (error) => finish(problemOf(error)));
  response.on("aborted", () => finish("the page broke off"));
  response.on("end", () => {
    const body = Buffer.concat(chunks);
    const text = body.toString("utf8");
    if (contains !== undefined && !text.includes(contains)) finish(`the page lacks "${contains}"`);
    else if (matches !== undefined && !new RegExp(matches).test(text)) finish(`the page does not match /${matches}/`);
    else if (digest !== undefined && digestOf(body, digest) !== digest.toLowerCase()) finish("another page");
    else finish(undefined);
  });
}

function digestOf(body: Buffer, like: string): string {
  return createHash(like.length === 32 ? "md5" : "sha256")
    .update(body)
    .digest("hex");
}
