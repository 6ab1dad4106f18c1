/** What the kernel knows of its end of the devices, asked by a director that could not go there itself. */
import type { DeviceInfo } from "../control/director-info.js";
import type { EnginePort } from "../engine/engine.js";
import { Netlink } from "../port/netlink.js";

export class DeviceCounters {
  private readonly ports: () => readonly EnginePort[];
  private readonly sockets = new Map<number, Netlink>();

  /** `ports`: as they are when somebody asks. */
  constructor(ports: () => readonly EnginePort[]) {
    this.ports = ports;
  }

  /** undefined when the device is not where it was made, or nobody may ask. */
  of(number: number): DeviceInfo | undefined {
    const { name, netlink } = this.ports()[number]!;
    if (netlink === undefined) return undefined;
    // What is known of a socket is its number, which another one may have got.
    if (!this.sockets.has(netlink)) this.sockets.set(netlink, new Netlink({ fd: netlink }));
    const link = this.sockets.get(netlink)!.link(name);
    if (link === undefined) return undefined;
    const { carrier, queueLength, txLost, rxLost } = link;
    return { carrier, queueLength, lostIn: txLost, lostOut: rxLost };
  }
}
