/** A director of two ports and one NAT service, with room for one worker's rings. */
import * as Port from "../../assembly/layout/port.js";
import * as Uring from "../../assembly/layout/uring.js";
import { DIRECTOR_MACS, ROUTER, server, VIRTUAL } from "../../host/bench/frames.js";
import { Control } from "../../host/core/control.js";
import { type Core, instantiate } from "../../host/core/instance.js";
import { capacitiesOf, createMemory, planMemory } from "../../host/core/memory.js";

const OFFLOADS = Port.CAPABILITY_LINK | Port.CAPABILITY_CHECKSUM | Port.CAPABILITY_TSO4 | Port.CAPABILITY_TSO6;

export interface RingDirector {
  readonly memory: WebAssembly.Memory;
  readonly core: Core;
  /** Of its two ports. */
  readonly records: readonly number[];
}

export interface RingDirectorOptions {
  /** How many of the four servers' MACs are known: what goes to the others waits, and then ends. */
  readonly known?: number;
  readonly now?: number;
  readonly rings?: number;
  /** What the devices do of a frame's work; all by default. */
  readonly capabilities?: number;
}

export function ringDirector(slots: number, options: RingDirectorOptions = {}): RingDirector {
  const { known = 4, now = 1000, rings = Uring.SIZE, capabilities = OFFLOADS } = options;
  const capacities = capacitiesOf({ connections: 4096, arena: 1 << 20, slots, rings });
  const memory = createMemory(planMemory(capacities), { seed: 1, now });
  const core = instantiate(memory);
  const control = new Control(core, memory);
  control.init();
  const records = DIRECTOR_MACS.map((mac, number) => {
    const record = control.portAdd({ number, kind: "memory", capabilities, mtu: 1500, mac });
    control.portUp(record, true);
    return record;
  });
  control.addressAdd(`${VIRTUAL}/24`, 0);
  control.addressAdd("192.168.2.130/24", 1);
  control.routeAdd({ to: "0.0.0.0/0", gateway: ROUTER.address, port: 0 });
  control.neighbourAdd(ROUTER.address, ROUTER.mac, 0);
  const id = { family: 4, protocol: "tcp", address: VIRTUAL, port: 80 } as const;
  control.serviceAdd({ id, scheduler: "rr", persistencePrefix: 32, onePacket: false, schedulerFlags: 0 });
  for (let at = 0; at < 4; at++) {
    if (at < known) control.neighbourAdd(server(at).address, server(at).mac, 1);
    control.serverAdd(id, {
      id: { family: 4, address: server(at).address, port: 8080 },
      forwarding: "nat",
      weight: 1,
      upperThreshold: 0,
      lowerThreshold: 0,
    });
  }
  return { memory, core, records };
}
