/** The page: one stream from the director, a view at a time. */
import { ConnectionsView } from "./connections.js";
import { Detail } from "./detail.js";
import { byId, setClass, setHidden, setText } from "./dom.js";
import { clock, duration } from "./format.js";
import { Overview } from "./overview.js";
import { PathView } from "./path.js";
import { ServicesView } from "./services.js";
import { Store } from "./store.js";
import { follow } from "./stream.js";
import { TrafficView } from "./traffic.js";

const VIEWS = ["services", "traffic", "path", "connections"] as const;
type ViewName = (typeof VIEWS)[number];
const THEME_KEY = "wlvs-theme";

const store = new Store();
const detail = new Detail(store);
const overview = new Overview(store);
const services = new ServicesView(store, detail);
const traffic = new TrafficView(store);
const path = new PathView(store);
new ConnectionsView();

let view: ViewName = "services";
let lostSince: number | undefined;
let retryAt = 0;
let reason = "";

function draw(): void {
  // Nobody looks: counters are kept, nothing is drawn.
  if (document.hidden) return;
  overview.drawTotals();
  if (view === "services") {
    services.draw();
    overview.drawCards();
  } else if (view === "traffic") traffic.draw();
  path.show(view === "path");
  detail.refresh();
  drawState();
}

function drawState(): void {
  const { tick, hello } = store;
  const state = byId("stream");
  const [dot, text] = state.children as unknown as [HTMLElement, HTMLElement];
  const banner = byId("banner");
  document.body.classList.toggle("stale", lostSince !== undefined);
  if (lostSince !== undefined) {
    setClass(dot, "dot bad");
    setText(text, "stream lost");
    const wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    const next = wait > 0 ? `next try in ${wait} s` : "trying again";
    const since = `since ${clock(lostSince)}`;
    setText(banner, `No live figures ${since}: ${reason}. What is shown is as it was then; ${next}.`);
    setHidden(banner, false);
  } else if (tick !== undefined) {
    setClass(dot, "dot ok");
    setText(text, "live");
    setHidden(banner, true);
  }
  if (tick !== undefined) {
    const { version, pid, uptime } = tick.status;
    setText(byId("director"), `${version} · pid ${pid} · up ${duration(uptime)}`);
    document.title = `wlvs · ${location.host}`;
  }
  if (hello !== undefined) {
    const access = byId("access");
    setHidden(access, false);
    setText(access, hello.admin ? "changes allowed" : "read-only");
    access.title = hello.admin ? "Started with --listen-admin" : "Started without --listen-admin";
    setClass(access, hello.admin ? "chip admin" : "chip");
  }
}

function show(): void {
  const name = location.hash.slice(1) as ViewName;
  if (location.hash !== "" && !VIEWS.includes(name)) return;
  view = VIEWS.includes(name) ? name : "services";
  for (const one of VIEWS) setHidden(byId(`view-${one}`), one !== view);
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.getAttribute("href") === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  draw();
}

function theme(choice: string): void {
  if (choice === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", choice);
  traffic.rebuild();
}

const chooser = byId<HTMLSelectElement>("theme");
chooser.value = localStorage.getItem(THEME_KEY) ?? "system";
chooser.addEventListener("change", () => {
  localStorage.setItem(THEME_KEY, chooser.value);
  theme(chooser.value);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => traffic.rebuild());
addEventListener("hashchange", show);
document.addEventListener("visibilitychange", draw);
show();
theme(chooser.value);
// The countdown of a lost stream.
setInterval(() => {
  // What can be scrolled can be reached by the keyboard, and nothing else.
  for (const area of document.querySelectorAll<HTMLElement>(".scroll")) {
    const tab = area.scrollWidth > area.clientWidth ? 0 : -1;
    if (area.tabIndex !== tab) area.tabIndex = tab;
  }
  if (lostSince !== undefined && !document.hidden) drawState();
}, 1000);

void follow("/v1/live", {
  event: (name, data) => {
    store.take(name, data);
    lostSince = undefined;
    if (name === "tick") draw();
  },
  lost: (why, seconds) => {
    lostSince ??= Date.now();
    reason = why;
    retryAt = Date.now() + seconds * 1000;
    drawState();
  },
});
