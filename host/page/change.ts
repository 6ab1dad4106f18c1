/** Changes of the tables: what they do in words, what they are at a terminal, and the request; each is confirmed first. */
import type { ForwardingName, ServerConfig, ServiceConfig, ServiceId } from "../ipvs/model.js";
import { byId, h } from "./dom.js";

export interface Change {
  readonly title: string;
  readonly text: string;
  /** wlvsadm's words for it. */
  readonly command: string;
  readonly method: "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  /** Takes something away from clients. */
  readonly hurts?: boolean;
}

const METHOD_FLAGS: Readonly<Record<ForwardingName, string>> = {
  nat: "-m",
  dr: "-g",
  tunnel: "-i",
  fullnat: "--fullnat",
  local: "-g",
  bypass: "-g",
};

export function serviceWords(id: ServiceId): string {
  if ("mark" in id) return `-f ${id.mark}${id.family === 6 ? " -6" : ""}`;
  const flag = { tcp: "-t", udp: "-u", sctp: "--sctp-service" }[id.protocol];
  return `${flag} ${id.family === 6 ? `[${id.address}]` : id.address}:${id.port}`;
}

export function serverWords(key: string, { forwarding, weight }: Pick<ServerConfig, "forwarding" | "weight">): string {
  return `-r ${key} ${METHOD_FLAGS[forwarding]} -w ${weight}`;
}

export function servicePath(key: string): string {
  return `/v1/services/${encodeURIComponent(key)}`;
}

export function serverPath(service: string, server: string): string {
  return `${servicePath(service)}/servers/${encodeURIComponent(server)}`;
}

/** Throws with what the director said when it refuses. */
async function send({ method, path, body }: Change): Promise<void> {
  const response = await fetch(path, {
    method,
    ...(body !== undefined && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  if (response.ok) return;
  const found = (await response.json().catch(() => ({}))) as { error?: { message?: string; code?: string } };
  throw new Error(found.error?.message ?? `status ${response.status}`);
}

/** Asks, and does it when told so; resolves with whether it was done. What the director refuses is shown, too. */
export function confirmChange(change: Change): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>("confirm");
  return new Promise((resolve) => {
    const problem = h("p", { class: "problem", role: "alert" });
    const cancel = h("button", { type: "button" }, "Cancel");
    const go = h("button", { type: "button", class: change.hurts ? "danger" : "primary" }, change.title);
    dialog.replaceChildren(
      h("h2", { id: "confirm-title" }, `${change.title}?`),
      h("p", { id: "confirm-text" }, change.text),
      h("p", { class: "dim small" }, "The same at a terminal:"),
      h("pre", { class: "command" }, change.command),
      problem,
      h("div", { class: "actions end" }, cancel, go),
    );
    let done = false;
    cancel.addEventListener("click", () => dialog.close());
    go.addEventListener("click", async () => {
      go.disabled = true;
      problem.textContent = "";
      try {
        await send(change);
        done = true;
        dialog.close();
      } catch (error) {
        problem.textContent = `The director refuses: ${(error as Error).message}`;
        go.disabled = false;
      }
    });
    dialog.addEventListener("close", () => resolve(done), { once: true });
    dialog.showModal();
    cancel.focus();
  });
}

export function addService(config: ServiceConfig, key: string): Change {
  return {
    title: "Add service",
    text: `${key} becomes a virtual service, scheduled by ${config.scheduler}. Until it has real servers its clients are refused.`,
    command: `wlvsadm -A ${serviceWords(config.id)} -s ${config.scheduler}${config.persistence ? ` -p ${config.persistence}` : ""}`,
    method: "POST",
    path: "/v1/services",
    body: config,
  };
}
