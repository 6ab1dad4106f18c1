/** The devices of a configuration, opened by the keeper, kept while directors come and go, and made again when gone. */
import { statSync } from "node:fs";
import type { PortSpec } from "../config/config.js";
import type { EnginePort } from "../engine/engine.js";
import { oneLine } from "../errors.js";
import type { Logger } from "../log.js";
import { closeDevice, DeviceInUse, joinBridge } from "../port/device.js";
import { isAttached } from "../port/ioctl.js";
import { Netlink } from "../port/netlink.js";
import { openTap } from "../port/tap.js";
import { openTun } from "../port/tun.js";

/** How long a device may be in use: by a director that was killed. */
const IN_USE_MS = 1000;
const IN_USE_STEP_MS = 10;
/** How often devices are looked at. */
const LOOK_MS = 1000;
/** Between two attempts to make a device again: the first pause, and the longest. */
const RETRY_LEAST_MS = 100;
const RETRY_MOST_MS = 10_000;

type OpenPort = EnginePort & { readonly kernelMac: string };

/** What has become of a port. */
export interface PortNews {
  readonly number: number;
  /** Without queues: it has no device. */
  readonly port: EnginePort;
  /** Its descriptors are others than before, or gone. */
  readonly swapped: boolean;
}

interface Watched {
  port: OpenPort;
  /** Which namespace its name stood for when the device was made. */
  home: string | undefined;
  remade: number;
  /** Attempts to make it again that failed, since when there have been some, and when the next one is due. */
  attempts: number;
  since: number;
  due: number;
  /** What was said of it last, by what it is about: nothing is said twice. */
  readonly said: Map<"device" | "namespace" | "bridge" | "carrier", string>;
  /** Index of the bridge that it is to be in. */
  bridge: number;
}

export class Devices {
  private readonly specs: readonly PortSpec[];
  private readonly queues: number;
  private readonly log: Logger;
  private readonly open: Watched[] = [];
  /** By namespace: where the kernel is asked about links. */
  private readonly links = new Map<string, Netlink | undefined>();
  private timer: NodeJS.Timeout | undefined;
  private tell: (news: PortNews) => void = () => {};

  constructor(specs: readonly PortSpec[], queues: number, log: Logger) {
    this.specs = specs;
    this.queues = queues;
    this.log = log;
  }

  get ports(): readonly EnginePort[] {
    return this.open.map(({ port }) => port);
  }

  /** For each port a socket into the namespace of its kernel end, shared by those that have one; the caller closes them. */
  openNetlinks(): Array<Netlink | undefined> {
    const open = new Map<string, Netlink | undefined>();
    return this.specs.map(({ netns = "" }) => {
      if (!open.has(netns)) open.set(netns, this.openNetlink(netns));
      return open.get(netns);
    });
  }

  /** One for a single port. */
  openNetlink(netns: string): Netlink | undefined {
    try {
      return new Netlink(netns === "" ? undefined : netns);
    } catch (error) {
      this.log.warn({ event: "device.uncounted", netns }, `what devices lose is not known: ${oneLine(error)}`);
      return undefined;
    }
  }

  /** Throws an LvsError where one cannot be had: nothing is begun then. */
  async openAll(): Promise<void> {
    const until = performance.now() + IN_USE_MS;
    for (const spec of this.specs) {
      const home = homeOf(spec.netns);
      const port = await this.openFree(spec, until);
      const state = { remade: 0, attempts: 0, since: 0, due: 0, said: new Map(), bridge: 0 };
      this.open.push({ port, home, ...state });
      if (this.queues > 1 && port.queues.length === 1) {
        this.log.warn(
          { event: "device.single-queue", port: spec.name },
          `${spec.name} has a single queue: one worker alone reads it`,
        );
      }
    }
  }

  private async openFree(spec: PortSpec, until: number): Promise<OpenPort> {
    for (;;) {
      try {
        return openPort(spec, this.queues);
      } catch (error) {
        if (!(error instanceof DeviceInUse) || performance.now() >= until) throw error;
        await new Promise((resolve) => setTimeout(resolve, IN_USE_STEP_MS));
      }
    }
  }

  /** From now on devices are looked at, and what has become of them is told. */
  watch(tell: (news: PortNews) => void): void {
    this.tell = tell;
    this.later();
  }

  /** Looks at all of them now: somebody cannot read one, or a director is about to start. */
  look(): void {
    for (const number of this.open.keys()) {
      try {
        this.lookAt(number);
      } catch (error) {
        this.say(number, "device", oneLine(error), () =>
          this.log.error(
            { event: "device.unknown", port: this.specs[number]!.name },
            `${this.specs[number]!.name} cannot be looked at: ${oneLine(error)}`,
          ),
        );
      }
    }
    if (this.timer !== undefined) this.later();
  }

  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const { port } of this.open) closeDevice(port);
    for (const netlink of this.links.values()) netlink?.close();
    this.links.clear();
    this.open.length = 0;
  }

  private later(): void {
    clearTimeout(this.timer);
    const now = performance.now();
    const due = this.open.flatMap(({ port, due }) => (port.queues.length === 0 ? [due - now] : []));
    this.timer = setTimeout(() => this.look(), Math.max(RETRY_LEAST_MS / 2, Math.min(LOOK_MS, ...due)));
  }

  private lookAt(number: number): void {
    const watched = this.open[number]!;
    const { name, netns } = this.specs[number]!;
    const { port } = watched;
    if (port.queues.length === 0) {
      if (performance.now() >= watched.due) this.makeAgain(number);
      return;
    }
    if (!isAttached(port.queues[0]!)) {
      this.log.warn({ event: "device.gone", port: name }, `${name} is gone: making it again`);
      this.lose(number, `${name} was deleted`);
      this.makeAgain(number);
      return;
    }
    const home = homeOf(netns);
    if (home === undefined) {
      const text = `the network namespace ${netns} has no name any more: ${name} stays in it, with whatever else does`;
      this.say(number, "namespace", text, () => this.log.warn({ event: "device.namespace", port: name, netns }, text));
      return;
    }
    if (home !== watched.home) {
      if (performance.now() < watched.due) return;
      const text = `${netns} is another network namespace now: making ${name} in that one`;
      this.say(number, "namespace", text, () => this.log.warn({ event: "device.namespace", port: name, netns }, text));
      this.makeAgain(number);
      return;
    }
    this.lookAtLink(number);
  }

  /** MTU, carrier and bridge of a device that is there. One that was moved elsewhere is not known under its name. */
  private lookAtLink(number: number): void {
    const watched = this.open[number]!;
    const { name, netns = "", bridge } = this.specs[number]!;
    if (!this.links.has(netns)) this.links.set(netns, this.openNetlink(netns));
    const links = this.links.get(netns);
    const link = links?.link(name);
    if (links === undefined || link === undefined) return;
    const { mtu } = watched.port;
    if (link.mtu !== mtu) {
      watched.port = { ...watched.port, mtu: link.mtu };
      this.log.info({ event: "device.mtu", port: name, mtu: link.mtu, before: mtu }, `${name} has another MTU`);
      this.report(number, false);
    }
    const wasDown = watched.said.has("carrier");
    if (!link.carrier) {
      this.say(number, "carrier", "down", () =>
        this.log.warn({ event: "device.down", port: name }, `the kernel's end of ${name} is down`),
      );
    } else if (wasDown) {
      watched.said.delete("carrier");
      this.log.info({ event: "device.up", port: name }, `the kernel's end of ${name} is up again`);
      this.report(number, false);
    }
    if (bridge === undefined) return;
    const index = links.link(bridge)?.index ?? 0;
    if (link.master !== 0) {
      watched.bridge = link.master;
      if (watched.said.delete("bridge")) {
        const { problem: _problem, ...port } = watched.port;
        watched.port = port;
        this.log.info({ event: "device.bridged", port: name, bridge }, `${name} is in a bridge again`);
        this.report(number, false);
      }
    } else if (index === 0) {
      this.unbridged(number, `the bridge ${bridge} is gone: ${name} joins it when it is there again`);
    } else if (index === watched.bridge) {
      this.unbridged(
        number,
        `somebody took ${name} out of ${bridge}: "ip link set ${name} master ${bridge}" puts it in`,
      );
    } else this.join(number, bridge);
  }

  private unbridged(number: number, text: string): void {
    const { name, bridge } = this.specs[number]!;
    this.say(number, "bridge", text, () => this.log.warn({ event: "device.unbridged", port: name, bridge }, text));
    const watched = this.open[number]!;
    if (watched.port.problem === text) return;
    watched.port = { ...watched.port, problem: text };
    this.report(number, false);
  }

  /** The bridge is another one than before. */
  private join(number: number, bridge: string): void {
    const watched = this.open[number]!;
    const { name, netns } = this.specs[number]!;
    if (performance.now() < watched.due) return;
    try {
      joinBridge(bridge, name, netns);
      watched.attempts = 0;
      watched.due = 0;
      // So that the next look tells that it is in.
      if (!watched.said.has("bridge")) watched.said.set("bridge", "");
      this.lookAtLink(number);
    } catch (error) {
      this.postpone(watched);
      this.unbridged(number, oneLine(error));
    }
  }

  private lose(number: number, problem: string): void {
    const watched = this.open[number]!;
    closeDevice(watched.port);
    watched.port = { ...watched.port, queues: [], problem };
    watched.attempts = 0;
    watched.since = performance.now();
    watched.due = 0;
    this.report(number, true);
  }

  private makeAgain(number: number): void {
    const watched = this.open[number]!;
    const spec = this.specs[number]!;
    const { name, netns } = spec;
    const before = watched.port;
    const home = homeOf(netns);
    let fresh: OpenPort;
    try {
      fresh = openPort(spec, this.queues, before.kernelMac);
    } catch (error) {
      this.postpone(watched);
      const problem = oneLine(error);
      this.say(number, "device", problem, () =>
        this.log.error(
          { event: "device.missing", port: name },
          `${name} cannot be made again: ${problem}; the other ports go on, and it is tried again`,
        ),
      );
      watched.port = { ...before, problem };
      this.report(number, false);
      return;
    }
    // Those of a device that was left behind in a namespace without a name; of one that is gone there are none.
    closeDevice(before);
    if (home !== watched.home) {
      this.links.get(netns ?? "")?.close();
      this.links.delete(netns ?? "");
    }
    const ms = watched.since === 0 ? 0 : Math.round(performance.now() - watched.since);
    const attempts = watched.attempts + 1;
    watched.remade++;
    watched.port = { ...fresh, remade: watched.remade };
    Object.assign(watched, { home, attempts: 0, since: 0, due: 0, bridge: 0 });
    watched.said.clear();
    this.log.info({ event: "device.back", port: name, attempts, ms }, `${name} was made again`);
    this.report(number, true);
  }

  private postpone(watched: Watched): void {
    const pause = Math.min(RETRY_LEAST_MS * 2 ** watched.attempts, RETRY_MOST_MS);
    watched.attempts++;
    watched.due = performance.now() + pause;
  }

  private report(number: number, swapped: boolean): void {
    this.tell({ number, port: this.open[number]!.port, swapped });
  }

  private say(number: number, what: "device" | "namespace" | "bridge" | "carrier", text: string, log: () => void) {
    const { said } = this.open[number]!;
    if (said.get(what) === text) return;
    said.set(what, text);
    log();
  }
}

/** Which namespace a name stands for: where it does not, undefined; of this process' own it is always the same. */
function homeOf(netns: string | undefined): string | undefined {
  if (netns === undefined) return "";
  try {
    const { dev, ino } = statSync(netns.startsWith("/") ? netns : `/var/run/netns/${netns}`);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

function openPort(spec: PortSpec, queues: number, kernelMac?: string): OpenPort {
  const { name, mtu, netns, persist } = spec;
  if (spec.kind === "tun") return { ...openTun({ name, queues, mtu, netns, persist }), mac: "" };
  return openTap({ name, queues, mtu, netns, persist, bridge: spec.bridge, mac: spec.mac, kernelMac });
}
