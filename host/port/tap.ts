/** TAP devices: frames with an Ethernet header. The core is the machine at the other end of the kernel's wire. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { LvsError } from "../errors.js";
import { closeDevice, type Device, type DeviceOptions, macText, openDevice } from "./device.js";

export interface TapOptions extends DeviceOptions {
  /** The core's MAC; a stable one of the machine and the name by default. */
  readonly mac?: string | undefined;
}

export interface TapDevice extends Device {
  readonly mac: string;
}

export function openTap(options: TapOptions): TapDevice {
  const device = openDevice("tap", options);
  const mac = options.mac ?? stableMac(options.name, options.netns);
  if (mac !== device.kernelMac) return { ...device, mac };
  closeDevice(device);
  throw new LvsError(
    "ERR_LVS_PORT_OPEN",
    `${mac} is the MAC of the kernel's end of ${options.name}: mac= wants another one for the director's end`,
  );
}

/** A locally administered MAC that stays over restarts: a new one would poison the neighbours' caches. */
export function stableMac(name: string, netns?: string, machine: string = machineId()): string {
  const hash = createHash("sha256")
    .update(`wlvs\0${machine}\0${netns ?? ""}\0${name}`)
    .digest();
  const mac = Uint8Array.prototype.slice.call(hash, 0, 6);
  mac[0] = (mac[0]! & 0xfc) | 0x02;
  return macText(mac);
}

function machineId(): string {
  for (const file of ["/etc/machine-id", "/var/lib/dbus/machine-id"]) {
    try {
      const text = readFileSync(file, "latin1").trim();
      if (text !== "") return text;
    } catch {
      // Containers often have none.
    }
  }
  return hostname();
}
