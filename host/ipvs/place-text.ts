/** ADDRESS:PORT as listings show it, numeric or by names. */
import type { Family, ServiceInfo, ServiceProtocol } from "./model.js";
import type { Names } from "./names.js";

/** Room for one place in listings; what is longer is cut. */
const LONGEST = 59;

export type PlaceText = (
  family: Family,
  address: string,
  port: number,
  protocol: ServiceProtocol | undefined,
) => string;

function show(family: Family, host: string, port: string): string {
  return (family === 6 ? `[${host}]:${port}` : `${host}:${port}`).slice(0, LONGEST);
}

export const numericPlace: PlaceText = (family, address, port) => show(family, address, `${port}`);

/** Shows names; every host has to be asked for first. */
export class NamedPlaces {
  private readonly names: Names;
  private readonly hosts = new Map<string, Promise<string | undefined>>();
  private readonly known = new Map<string, string>();

  constructor(names: Names) {
    this.names = names;
  }

  async ask(hosts: Iterable<{ readonly family: Family; readonly address: string }>): Promise<void> {
    const asked: Promise<void>[] = [];
    for (const { family, address } of hosts) {
      if (this.hosts.has(address)) continue;
      const answer = this.names.hostName(family, address);
      this.hosts.set(address, answer);
      asked.push(answer.then((name) => void this.known.set(address, name ?? address)));
    }
    await Promise.all(asked);
  }

  readonly text: PlaceText = (family, address, port, protocol) => {
    const service = protocol === undefined ? undefined : this.names.serviceName(port, protocol);
    return show(family, this.known.get(address) ?? address, service ?? `${port}`);
  };
}

/** How to show the places of these services. */
export async function placesOf(services: readonly ServiceInfo[], numeric: boolean, names: Names): Promise<PlaceText> {
  if (numeric) return numericPlace;
  const places = new NamedPlaces(names);
  await places.ask(services.flatMap(({ id, servers }) => [...("mark" in id ? [] : [id]), ...servers.map((s) => s.id)]));
  return places.text;
}

/** The protocol whose names the ports of a service and its servers have; marked services have none. */
export function protocolOf(service: Pick<ServiceInfo, "id">): ServiceProtocol | undefined {
  return "mark" in service.id ? undefined : service.id.protocol;
}
