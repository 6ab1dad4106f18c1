/** Services as YAML: alone, or into a file that a person wrote. */
import { Document, isMap, isSeq, parseDocument, type ToStringOptions, type YAMLMap, type YAMLSeq } from "yaml";
import { endpoint, serverKey, serviceKey } from "../control/keys.js";
import { settingName } from "../core/settings.js";
import type { ForwardingName, Limit, Limits, ServerConfig, ServiceConfig } from "../ipvs/model.js";
import { formatSchedulerFlags } from "../ipvs/scheduler-flags.js";
import { diffTables, netmask, stepText, type Table, tablesOf } from "./diff.js";
import { parseConfigFile } from "./file.js";
import { SYN_PROXY, SYN_PROXY_MODES } from "./options.js";
import { sameTimeouts, settingChanges, type Tuning, tuningTexts } from "./tuning.js";

type Entry = Record<string, unknown>;

const MODES: Readonly<Record<ForwardingName, string>> = {
  nat: "nat",
  dr: "dr",
  tunnel: "tun",
  fullnat: "fullnat",
  local: "dr",
  bypass: "dr",
};

/** `tuning` is written where it is not what runs without a word, `usual`. */
export function servicesText(services: readonly Table[], tuning?: Tuning, usual?: Tuning): string {
  const document = new Document({ services: services.map((service) => entryOf(service)) });
  if (tuning !== undefined && usual !== undefined) writeTuning(document, usual, tuning);
  return String(document);
}

function writeTuning(document: Document, before: Tuning, after: Tuning): void {
  if (!sameTimeouts(before.timeouts, after.timeouts)) {
    const { tcp, tcpFin, udp } = after.timeouts;
    document.set("timeouts", document.createNode({ tcp, tcp_fin: tcpFin, udp }));
  }
  for (const [name, value] of settingChanges(before, after)) {
    if (name === "syn_proxy" && document.has(name)) {
      document.set(
        name,
        SYN_PROXY_MODES.find((mode) => SYN_PROXY[mode] === value),
      );
      continue;
    }
    if (!isMap(document.get("settings"))) document.set("settings", document.createNode({}));
    const settings = document.get("settings") as YAMLMap;
    // A name may be written as sysctl's.
    const key = settings.items.map((item) => String(item.key)).find((written) => settingName(written) === name) ?? name;
    settings.set(key, /^\d+$/.test(value) ? Number(value) : value);
  }
}

function entryOf(service: Table): Entry {
  return {
    ...serviceEntry(service),
    servers: service.servers.map((server) => serverEntry(server, service, undefined)),
  };
}

function serviceEntry({ id, ...service }: ServiceConfig): Entry {
  const flags = formatSchedulerFlags(service.scheduler, service.schedulerFlags);
  const mask = service.persistenceNetmask ?? netmask(service.persistencePrefix);
  const whole = id.family === 6 ? service.persistencePrefix === 128 : mask === "255.255.255.255";
  return {
    ...("mark" in id
      ? { mark: id.mark, ...(id.family === 6 && { family: 6 }) }
      : {
          vip: endpoint(id.family, id.address, id.port),
          ...(id.protocol !== "tcp" && { protocol: id.protocol }),
        }),
    scheduler: service.scheduler,
    ...(flags !== "" && { flags: flags.split(",") }),
    ...(service.persistence !== undefined && { persistent: service.persistence }),
    ...(!whole && { granularity: id.family === 6 ? service.persistencePrefix : mask }),
    ...(service.persistenceEngine !== undefined && { engine: service.persistenceEngine }),
    ...(service.onePacket && { one_packet: true }),
    ...(service.synProxy !== undefined && service.synProxy !== "default" && { syn_proxy: service.synProxy }),
    ...limitsEntry(service.limits),
  };
}

function limitsEntry({ connections = 0, rate = 0, perSource = {} }: Limits = {}): Entry {
  const one = (limit: Limit) => ({
    ...((limit.connections ?? 0) > 0 && { connections: limit.connections }),
    ...((limit.rate ?? 0) > 0 && { rate: limit.rate }),
  });
  const ofSource = one(perSource);
  const limits = { ...one({ connections, rate }), ...(Object.keys(ofSource).length > 0 && { per_source: ofSource }) };
  return Object.keys(limits).length > 0 ? { limits } : {};
}

/** `usual` is the mode that servers of the service have unless they say otherwise. */
function serverEntry(server: ServerConfig, service: ServiceConfig, usual: string | undefined): Entry {
  const { id, forwarding, weight, upperThreshold, lowerThreshold, tunnel } = server;
  const mode = MODES[forwarding];
  const samePort = !("mark" in service.id) && id.port === service.id.port;
  const bare = id.family === 6 ? `[${id.address}]` : id.address;
  const plain = tunnel === undefined || tunnel.type === "ipip" || forwarding !== "tunnel";
  return {
    rip: samePort && mode !== "nat" && mode !== "fullnat" ? bare : endpoint(id.family, id.address, id.port),
    weight,
    ...(mode !== (usual ?? "nat") && { mode }),
    ...(upperThreshold !== 0 && { upper: upperThreshold }),
    ...(lowerThreshold !== 0 && { lower: lowerThreshold }),
    ...(!plain && {
      tunnel: { type: tunnel.type, ...(tunnel.port !== 0 && { port: tunnel.port }), checksum: tunnel.checksum },
    }),
  };
}

/** What of a file's style is not kept by itself: of lines that do not change, none is to differ. */
function styleOf(text: string): ToStringOptions {
  return {
    lineWidth: 0,
    flowCollectionPadding: !/^[^#]*\{[^\s}]/m.test(text),
    indentSeq: !/^( *)[^\s#-][^\n]*:[ \t]*\n\1- /m.test(text),
  };
}

/** A new entry of a list, in braces if the one before it is. */
function append(document: Document, list: YAMLSeq, entry: Entry): void {
  const before = list.items.at(-1);
  const node = document.createNode(entry);
  if (isMap(before) && before.flow === true && isMap(node)) node.flow = true;
  list.add(node);
}

/** Brings a file up to date. The file has to be right. `tuning`: what it says, and what runs. */
export function mergeServices(
  name: string,
  text: string,
  running: readonly Table[],
  tuning?: { readonly said: Tuning; readonly runs: Tuning },
): { text: string; changes: string[] } {
  const file = parseConfigFile(name, text);
  const said = tablesOf(file.steps.map(({ step }) => step));
  const steps = diffTables(said, running);
  const changes = [...steps.map(stepText), ...(tuning === undefined ? [] : tuningTexts(tuning.said, tuning.runs))];
  if (changes.length === 0) return { text, changes };
  const document = parseDocument(text);
  if (tuning !== undefined) writeTuning(document, tuning.said, tuning.runs);
  if (steps.length === 0) return { text: document.toString(styleOf(text)), changes };
  let list = document.get("services") as YAMLSeq | undefined;
  if (!isSeq(list)) {
    document.set("services", document.createNode([]));
    list = document.get("services") as unknown as YAMLSeq;
  }
  // In the order of the file, as it was read.
  const nodes = new Map(said.map(({ id }, at) => [serviceKey(id), list.items[at] as YAMLMap]));
  const place = new Map(said.map((table) => [serviceKey(table.id), table]));
  const wanted = new Map(running.map((table) => [serviceKey(table.id), table]));
  for (const [key, node] of nodes) if (!wanted.has(key)) list.items.splice(list.items.indexOf(node), 1);
  for (const [key, table] of wanted) {
    const node = nodes.get(key);
    if (node === undefined) append(document, list, entryOf(table));
    else mergeService(document, node, place.get(key)!, table);
  }
  return { text: document.toString(styleOf(text)), changes };
}

function mergeService(document: Document, node: YAMLMap, before: Table, after: Table): void {
  update(document, node, serviceEntry(before), serviceEntry(after));
  const usual = (node.get("mode") as string | undefined) ?? "nat";
  let list = node.get("servers") as YAMLSeq | undefined;
  if (!isSeq(list)) {
    node.set("servers", document.createNode([]));
    list = node.get("servers") as YAMLSeq;
  }
  const nodes = new Map(before.servers.map(({ id }, at) => [serverKey(id), list.items[at] as YAMLMap]));
  const place = new Map(before.servers.map((server) => [serverKey(server.id), server]));
  const wanted = new Map(after.servers.map((server) => [serverKey(server.id), server]));
  for (const [key, one] of nodes) if (!wanted.has(key)) list.items.splice(list.items.indexOf(one), 1);
  for (const [key, server] of wanted) {
    const one = nodes.get(key);
    if (!isMap(one)) append(document, list, serverEntry(server, after, usual));
    else update(document, one, serverEntry(place.get(key)!, before, usual), serverEntry(server, after, usual));
  }
}

/** Sets what differs, and leaves how the rest is written. */
function update(document: { createNode(value: unknown): unknown }, node: YAMLMap, before: Entry, after: Entry): void {
  for (const key of Object.keys(before)) if (!(key in after)) node.delete(key);
  for (const [key, value] of Object.entries(after)) {
    if (JSON.stringify(before[key]) !== JSON.stringify(value)) node.set(key, document.createNode(value));
  }
}
