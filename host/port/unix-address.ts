/** Addresses of Unix sockets. */
import * as native from "./native.js";

const PATH_AT = 2;
/** sizeof sun_path; a path ends in a zero byte. */
const PATH_SIZE = 108;

/** sockaddr_un of a path, or of an abstract name ("@" before it), which has no zero byte behind it. */
export function unixAddress(path: string): Uint8Array {
  const abstract = path.startsWith("@");
  const bytes = Buffer.from(path);
  if (bytes.length > (abstract ? PATH_SIZE : PATH_SIZE - 1)) throw new RangeError(`${path} is too long for a socket`);
  if (abstract) bytes[0] = 0;
  const address = Buffer.alloc(PATH_AT + (abstract ? bytes.length : PATH_SIZE));
  address.writeUInt16LE(native.AF_UNIX, 0);
  address.set(bytes, PATH_AT);
  return address;
}
