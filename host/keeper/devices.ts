/** The devices of a configuration, opened by the keeper and kept while directors come and go. */
import type { PortSpec } from "../config/config.js";
import type { EnginePort } from "../engine/engine.js";
import { oneLine } from "../errors.js";
import type { Logger } from "../log.js";
import { closeDevice, DeviceInUse } from "../port/device.js";
import { isAttached } from "../port/ioctl.js";
import { Netlink } from "../port/netlink.js";
import { openTap } from "../port/tap.js";
import { openTun } from "../port/tun.js";

/** How long a device may be in use: by a director that was killed. */
const IN_USE_MS = 1000;
const IN_USE_STEP_MS = 10;

type OpenPort = EnginePort & { readonly kernelMac: string };

export class Devices {
  private readonly specs: readonly PortSpec[];
  private readonly queues: number;
  private readonly log: Logger;
  private readonly open: OpenPort[] = [];

  constructor(specs: readonly PortSpec[], queues: number, log: Logger) {
    this.specs = specs;
    this.queues = queues;
    this.log = log;
  }

  get ports(): readonly EnginePort[] {
    return this.open;
  }

  /** For each port a socket into the namespace of its kernel end, shared by those that have one; the caller closes them. */
  openNetlinks(): Array<Netlink | undefined> {
    const open = new Map<string, Netlink | undefined>();
    return this.specs.map(({ netns = "" }) => {
      if (!open.has(netns)) open.set(netns, this.openNetlink(netns));
      return open.get(netns);
    });
  }

  private openNetlink(netns: string): Netlink | undefined {
    try {
      return new Netlink(netns === "" ? undefined : netns);
    } catch (error) {
      this.log.warn({ event: "device.uncounted", netns }, `what devices lose is not known: ${oneLine(error)}`);
      return undefined;
    }
  }

  async openAll(): Promise<void> {
    const until = performance.now() + IN_USE_MS;
    for (const spec of this.specs) {
      const port = await this.openFree(spec, until);
      this.open.push(port);
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

  /** Makes those again that somebody deleted under us. Returns whether there were such. */
  revive(): boolean {
    let made = false;
    for (const [at, port] of this.open.entries()) {
      if (isAttached(port.queues[0]!)) continue;
      this.log.warn({ event: "device.gone", port: port.name }, `${port.name} is gone: making it again`);
      const fresh = openPort(this.specs[at]!, this.queues);
      closeDevice(port);
      this.open[at] = fresh;
      made = true;
    }
    return made;
  }

  close(): void {
    for (const port of this.open) closeDevice(port);
    this.open.length = 0;
  }
}

function openPort(spec: PortSpec, queues: number): OpenPort {
  const { name, mtu, netns, persist } = spec;
  if (spec.kind === "tun") return { ...openTun({ name, queues, mtu, netns, persist }), mac: "" };
  return openTap({ name, queues, mtu, netns, persist, bridge: spec.bridge, mac: spec.mac });
}
