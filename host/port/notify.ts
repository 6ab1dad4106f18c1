/** The socket of a service manager: datagrams of "NAME=VALUE" lines (sd_notify(3)). Node has no Unix datagrams. */
import { errnoText } from "../errors.js";
import * as native from "./native.js";
import { unixAddress } from "./unix-address.js";

const NO_SIGNAL = 0x4000;

export class NotifySocket {
  private readonly address: Uint8Array;
  private readonly fd: number;

  /** Throws where the path is none: it begins with "/", or with "@" for an abstract one. */
  constructor(path: string) {
    if (!/^[/@]./.test(path)) throw new Error(`${path} is no Unix socket`);
    this.address = unixAddress(path);
    this.fd = native.socket(native.AF_UNIX, native.SOCK_DGRAM | native.SOCK_CLOEXEC | native.SOCK_NONBLOCK, 0);
    if (this.fd < 0) throw new Error(`socket: ${errnoText(native.errno())}`);
  }

  /** Throws when nobody takes it. */
  send(values: Readonly<Record<string, string | number | bigint>>): void {
    const lines = Object.entries(values).map(([name, value]) => `${name}=${`${value}`.replaceAll("\n", " ")}\n`);
    const data = Buffer.from(lines.join(""));
    const sent = native.sendto(this.fd, data, data.length, NO_SIGNAL, this.address, this.address.length);
    if (sent < 0) throw new Error(errnoText(native.errno()));
  }

  close(): void {
    native.close(this.fd);
  }
}
