/** Naive schedulers, written from their descriptions: the judges of the core's. */

export interface ReferenceServer {
  readonly id: number;
  readonly address: number;
  readonly port: number;
  weight: number;
  lastWeight: number;
  active: number;
  inactive: number;
  overloaded: boolean;
}

export interface ReferencePacket {
  readonly client: number;
  readonly clientPort: number;
  readonly virtual: number;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
const overhead = (server: ReferenceServer) => server.active * 256 + server.inactive;
const isAble = (server: ReferenceServer) => server.weight > 0 && !server.overloaded;
const hashTo8 = (value: number) => Math.imul(value, 0x61c88647) >>> 24;

const MASK = (1n << 64n) - 1n;
const rotate = (value: bigint, by: bigint) => ((value << by) | (value >> (64n - by))) & MASK;

/** SipHash-1-3 of a 32-bit word, both key words the same. */
export function sipHash(word: number, key: number): number {
  const k = BigInt(key);
  let v0 = 0x736f6d6570736575n ^ k;
  let v1 = 0x646f72616e646f6dn ^ k;
  let v2 = 0x6c7967656e657261n ^ k;
  let v3 = 0x7465646279746573n ^ k;
  const round = () => {
    v0 = (v0 + v1) & MASK;
    v1 = rotate(v1, 13n) ^ v0;
    v0 = rotate(v0, 32n);
    v2 = (v2 + v3) & MASK;
    v3 = rotate(v3, 16n) ^ v2;
    v0 = (v0 + v3) & MASK;
    v3 = rotate(v3, 21n) ^ v0;
    v2 = (v2 + v1) & MASK;
    v1 = rotate(v1, 17n) ^ v2;
    v2 = rotate(v2, 32n);
  };
  const block = (4n << 56n) | BigInt(word);
  v3 ^= block;
  round();
  v0 ^= block;
  v2 ^= 0xffn;
  for (let i = 0; i < 3; i++) round();
  return Number((v0 ^ v1 ^ v2 ^ v3) & 0xffffffffn);
}

/** One service. `servers` is newest first, as schedulers go through it. */
export class ReferenceService {
  readonly servers: ReferenceServer[] = [];
  readonly name: string;
  readonly fallback: boolean;
  readonly withPort: boolean;
  private current: ReferenceServer | undefined;
  private bar = 0;

  constructor(name: string, fallback = false, withPort = false) {
    this.name = name;
    this.fallback = fallback;
    this.withPort = withPort;
  }

  add(server: ReferenceServer): void {
    this.servers.unshift(server);
    this.changed();
  }

  edit(server: ReferenceServer, weight: number): void {
    server.weight = weight;
    if (weight !== 0) server.lastWeight = weight;
    this.changed();
  }

  remove(server: ReferenceServer): void {
    const place = this.servers.indexOf(server);
    if (this.name === "rr" && this.current === server) this.current = this.servers[place - 1];
    this.servers.splice(place, 1);
    this.changed();
  }

  private get step(): number {
    return (
      this.servers.filter((server) => server.weight > 0).reduce((step, server) => gcd(step, server.weight), 0) || 1
    );
  }

  private get maximum(): number {
    return Math.max(0, ...this.servers.map((server) => server.weight)) - this.step + 1;
  }

  private changed(): void {
    if (this.name !== "wrr") return;
    this.current = undefined;
    const { step, maximum } = this;
    if (this.bar > maximum || this.bar === 0) this.bar = maximum;
    else if (step > 1) this.bar = Math.floor(this.bar / step) * step + 1;
  }

  pick(packet: ReferencePacket): ReferenceServer | undefined {
    const able = this.servers.filter(isAble);
    const least = (cost: (server: ReferenceServer) => number) =>
      able.reduce<ReferenceServer | undefined>(
        (best, server) =>
          best === undefined || cost(best) * server.weight > cost(server) * best.weight ? server : best,
        undefined,
      );
    switch (this.name) {
      case "rr":
        return this.pickNext(able);
      case "wrr":
        return able.length === 0 ? undefined : this.pickPass();
      case "lc":
        return able.reduce<ReferenceServer | undefined>(
          (best, server) => (best === undefined || overhead(server) < overhead(best) ? server : best),
          undefined,
        );
      case "wlc":
        return least(overhead);
      case "sed":
        return least((server) => server.active + 1);
      case "nq":
        return able.find((server) => server.active === 0) ?? least((server) => server.active + 1);
      case "fo":
        return heaviest(able);
      case "ovf":
        return heaviest(able.filter((server) => server.active <= server.weight));
      case "dh":
        return this.ableAt(this.table(), hashTo8(packet.virtual));
      case "sh": {
        const key = (packet.client + (this.withPort ? packet.clientPort : 0)) >>> 0;
        return this.probe(this.table(), hashTo8(key), (offset) => (offset + hashTo8(key)) & 255);
      }
      case "mh": {
        const key = packet.client + (this.withPort ? packet.clientPort : 0);
        const place = (offset: number) => sipHash((offset + key) >>> 0, 2654435761) % 4093;
        return this.probe(this.permuted(), place(0), place);
      }
      default:
        throw new Error(this.name);
    }
  }

  private pickNext(able: ReferenceServer[]): ReferenceServer | undefined {
    const start = this.current === undefined ? 0 : this.servers.indexOf(this.current) + 1;
    const turned = [...this.servers.slice(start), ...this.servers.slice(0, start)];
    const picked = turned.find((server) => able.includes(server));
    if (picked !== undefined) this.current = picked;
    return picked;
  }

  /** Only called while somebody is able: how failing leaves the state is not judged here. */
  private pickPass(): ReferenceServer | undefined {
    let from = this.current === undefined ? 0 : this.servers.indexOf(this.current) + 1;
    for (;;) {
      const picked = this.servers.slice(from).find((server) => isAble(server) && server.weight >= this.bar);
      if (picked !== undefined) {
        this.current = picked;
        return picked;
      }
      from = 0;
      this.bar -= this.step;
      if (this.bar <= 0) this.bar = this.maximum;
    }
  }

  private ableAt(table: (ReferenceServer | undefined)[], place: number): ReferenceServer | undefined {
    const server = table[place];
    return server !== undefined && isAble(server) ? server : undefined;
  }

  private probe(
    table: (ReferenceServer | undefined)[],
    hash: number,
    place: (offset: number) => number,
  ): ReferenceServer | undefined {
    const server = this.ableAt(table, hash);
    if (server !== undefined || !this.fallback || table[hash] === undefined) return server;
    for (let i = 0; i < table.length; i++) {
      const other = this.ableAt(table, place((i + hash) % table.length));
      if (other !== undefined) return other;
    }
    return undefined;
  }

  /** dh: in turn; sh: as many in a row as the weight says. */
  private table(): (ReferenceServer | undefined)[] {
    const rows = this.servers.flatMap((server) =>
      new Array<ReferenceServer>(this.name === "dh" ? 1 : Math.max(1, server.weight)).fill(server),
    );
    return Array.from({ length: 256 }, (_, place) => rows[place % rows.length]);
  }

  private permuted(): (ReferenceServer | undefined)[] {
    const size = 4093;
    const table = new Array<ReferenceServer | undefined>(size).fill(undefined);
    const weights = this.servers.map((server) => server.lastWeight).filter((weight) => weight > 0);
    if (weights.length === 0) return table;
    const divisor = weights.reduce(gcd);
    const bits = 32 - Math.clz32(Math.max(...weights) / divisor);
    const shift = Math.max(0, bits - 6);
    const rows = this.servers.map((server) => {
      const key = (server.address + server.port) >>> 0;
      const turns = Math.floor(server.lastWeight / divisor) >> shift || Math.min(server.lastWeight, 1);
      return {
        server,
        turns,
        place: sipHash(key, 2654435761) % size,
        skip: (sipHash(key, 2654446892) % (size - 1)) + 1,
      };
    });
    for (let filled = 0; ; ) {
      for (const row of rows) {
        for (let turn = 0; turn < row.turns; turn++) {
          while (table[row.place] !== undefined) row.place = (row.place + row.skip) % size;
          table[row.place] = row.server;
          if (++filled === size) return table;
        }
      }
    }
  }
}

function heaviest(servers: ReferenceServer[]): ReferenceServer | undefined {
  return servers.reduce<ReferenceServer | undefined>(
    (best, server) => (best === undefined || server.weight > best.weight ? server : best),
    undefined,
  );
}
