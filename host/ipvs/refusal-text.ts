/** What ipvsadm says when the tables refuse something: by what was asked, then by the kernel's errno. */
import * as Errno from "../../assembly/layout/errno.js";
import type { Command } from "./grammar.js";
import type { IpvsError } from "./model.js";

type Asked = Command["do"];

const NO_SERVICE = { [Errno.ESRCH]: "No such service" };
const NO_SCHEDULER = { [Errno.ENOENT]: "Scheduler or persistence engine not found" };
const NO_SERVICE_FOR_SERVER = { [Errno.ESRCH]: "Service not defined" };
const NO_SERVER = { ...NO_SERVICE_FOR_SERVER, [Errno.ENOENT]: "No such destination" };

const BY_COMMAND: Readonly<Partial<Record<Asked, Readonly<Record<number, string>>>>> = {
  addService: { ...NO_SCHEDULER, [Errno.EEXIST]: "Service already exists" },
  editService: { ...NO_SCHEDULER, ...NO_SERVICE },
  removeService: NO_SERVICE,
  zero: NO_SERVICE,
  list: NO_SERVICE,
  addServer: { ...NO_SERVICE_FOR_SERVER, [Errno.EEXIST]: "Destination already exists" },
  editServer: NO_SERVER,
  removeServer: NO_SERVER,
  startDaemon: { [Errno.EEXIST]: "Daemon has already run" },
  stopDaemon: { [Errno.ESRCH]: "No daemon is running" },
};

const EPERM = 1;
const ENODEV = 19;
const EADDRNOTAVAIL = 99;

const ALWAYS: Readonly<Record<number, string>> = {
  [Errno.EINVAL]: "Invalid operation.  Possibly wrong module version, address not unicast, ...",
  [Errno.ENOMEM]: "Memory allocation problem",
  [EPERM]: "Permission denied (you must be root)",
  [Errno.ENOENT]: "No such file or directory",
  [Errno.ESRCH]: "No such process",
  [Errno.EAGAIN]: "Resource temporarily unavailable",
  [Errno.EBUSY]: "Device or resource busy",
  [Errno.EEXIST]: "File exists",
  [ENODEV]: "No such device",
  [Errno.ENOSPC]: "No space left on device",
  [Errno.EDOM]: "Numerical argument out of domain",
  [Errno.ERANGE]: "Numerical result out of range",
  [Errno.EPROTONOSUPPORT]: "Protocol not supported",
  [Errno.EAFNOSUPPORT]: "Address family not supported by protocol",
  [EADDRNOTAVAIL]: "Cannot assign requested address",
};

export function refusalText(asked: Asked, error: IpvsError): string {
  // EOPNOTSUPP is what wlvs says of things that it cannot do yet: its own words tell more.
  return BY_COMMAND[asked]?.[error.errno] ?? ALWAYS[error.errno] ?? error.message;
}
