/** TUN devices: packets without a link layer. */
import { type Device, type DeviceOptions, openDevice } from "./device.js";

export function openTun(options: DeviceOptions): Device {
  return openDevice("tun", options);
}
