/** What happens to devices while a director runs: it goes on with its tables as they were, and so do its clients. */
import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import {
  client,
  direct,
  edge,
  events,
  hold,
  INNER,
  inner,
  load,
  network,
  pings,
  remote,
  SERVER,
  server,
  slotsInUse,
  socket,
  useSite,
  VIP,
} from "./faults.js";
import { hasLink, inside, ip, MAIN, waitFor } from "./network.js";
import { until } from "./pair.js";

const port = async (name: string) => (await remote.ports()).find((one) => one.name === name)!;
const wlvs = (...args: string[]) =>
  execFileSync(process.execPath, [MAIN, ...args, "--socket", socket], { encoding: "utf8" });

describe("a device", () => {
  useSite("ss", "ping");

  it.each([1, 2])("that is deleted is made again, for %s worker(s) that go on", async (workers) => {
    const director = await direct("--workers", `${workers}`);
    const connections = await hold(5);
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
    const { pid } = await remote.status();
    const slots = await slotsInUse();
    const mac = /ether (\S+)/.exec(ip("-n", inner, "link", "show", "int0"))![1];
    for (const [times, [where, name, bridge]] of [
      [inner, "int0", "bri"],
      [edge, "ext0", "brx"],
    ].entries()) {
      ip("-n", where!, "link", "del", name!);
      await waitFor(() => events(director, "device.back").length > times, `${name} is back`);
      await until(async () => (await port(name!)).up, `the director uses ${name}`, 20_000);
      expect(await connections.check()).toEqual({ well: 5, resets: 0 });
      expect(ip("-n", where!, "link", "show", name!)).toContain(`master ${bridge}`);
      const { remade, problem } = await port(name!);
      expect({ remade, problem }).toEqual({ remade: 1, problem: undefined });
    }
    expect(ip("-n", inner, "link", "show", "int0")).toContain(mac);
    expect((await remote.status()).pid).toBe(pid);
    expect(await slotsInUse()).toBe(slots);
    expect(events(director, "device.gone")).toHaveLength(2);
    expect((await director.stop()).status).toBe(0);
    expect(hasLink(inner, "int0") || hasLink(edge, "ext0")).toBe(false);
  });

  it("whose bridge is gone with it is waited for, while the others go on and a director may die", async () => {
    const director = await direct();
    const connections = await hold(3);
    ip("-n", inner, "link", "del", "bri");
    ip("-n", inner, "link", "del", "int0");
    const problem = 'no bridge bri for int0: make it with "ip link add bri type bridge"';
    await until(async () => (await port("int0")).problem === problem, "the reason is known");
    expect(await port("int0")).toMatchObject({ up: false, remade: 0 });
    expect(await pings()).toBe(true);
    const { pid } = await remote.status();
    expect(wlvs("status")).toMatch(/^int0 +tap +down .*\nport int0: no bridge bri for int0/ms);
    expect(await load(1500, pid, director.child.pid!)).toBeLessThan(0.2);
    expect(events(director, "device.missing")).toHaveLength(1);
    process.kill(pid, "SIGKILL");
    await until(async () => (await remote.status()).pid !== pid && (await pings()), "another one without int0");
    ip("-n", inner, "link", "add", "bri", "type", "bridge");
    ip("-n", inner, "link", "set", "bri", "up");
    ip("-n", inner, "link", "set", "v0", "master", "bri");
    await until(async () => (await port("int0")).up, "the port is up again", 15_000);
    await inside(client, "ip", "route", "add", `${SERVER}/32`, "via", VIP);
    expect(await inside(client, "ping", "-c", "1", "-W", "5", SERVER)).toContain("1 received");
    expect((await director.stop()).status).toBe(0);
    connections.child.kill();
  });

  it("joins its bridge when that is made anew, and stays out where somebody took it out", async () => {
    const director = await direct();
    const connections = await hold(3);
    ip("-n", inner, "link", "del", "bri");
    await until(async () => (await port("int0")).problem?.startsWith("the bridge bri is gone") === true, "it is said");
    ip("-n", inner, "link", "add", "bri", "type", "bridge");
    ip("-n", inner, "link", "set", "bri", "up");
    ip("-n", inner, "link", "set", "v0", "master", "bri");
    await waitFor(() => events(director, "device.bridged").length === 1, "it is in the bridge again");
    expect(await connections.check()).toEqual({ well: 3, resets: 0 });
    const { up, remade, problem } = await port("int0");
    expect({ up, remade, problem }).toEqual({ up: true, remade: 0, problem: undefined });
    ip("-n", inner, "link", "set", "int0", "nomaster");
    await until(async () => (await port("int0")).problem?.startsWith("somebody took int0 out of bri") === true, "said");
    ip("-n", inner, "link", "set", "int0", "master", "bri");
    await until(async () => (await port("int0")).problem === undefined, "all is well again");
    expect(await connections.check()).toEqual({ well: 3, resets: 0 });
    expect(events(director, "device.gone")).toEqual([]);
  });

  it("follows its namespace when another one gets that name", async () => {
    const name = network.namespace("lost");
    const director = network.director("--tap", `lost0,ip=10.9.9.1/24,netns=${name}`, "--socket", socket);
    await director.ready();
    ip("netns", "del", name);
    await waitFor(() => events(director, "device.namespace").length === 1, "it is seen");
    ip("netns", "add", name);
    await waitFor(() => events(director, "device.back").length === 1, "the device is made there");
    expect(await port("lost0")).toMatchObject({ up: true, remade: 1 });
    ip("-n", name, "addr", "add", "10.9.9.2/24", "dev", "lost0");
    expect(await inside(name, "ping", "-c", "1", "-W", "5", "10.9.9.1")).toContain("1 received");
    expect((await director.stop()).status).toBe(0);
    expect(hasLink(name, "lost0")).toBe(false);
  });

  it("that goes down and up, and gets another MTU, is followed", async () => {
    const director = await direct();
    const connections = await hold(3);
    ip("-n", inner, "link", "set", "int0", "down");
    await waitFor(() => events(director, "device.down").length === 1, "down is seen");
    expect(wlvs("status")).toMatch(/^int0 +tap +no carrier/m);
    expect(await pings()).toBe(true);
    ip("-n", inner, "link", "set", "int0", "up");
    await waitFor(() => events(director, "device.up").length === 1, "up is seen");
    expect(await connections.check()).toEqual({ well: 3, resets: 0 });
    ip("-n", inner, "link", "set", "int0", "mtu", "1400");
    await until(async () => (await port("int0")).mtu === 1400, "the MTU is known");
    ip("-n", client, "route", "add", `${SERVER}/32`, "via", VIP);
    const large = () =>
      inside(client, "ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1420", SERVER).catch(({ message }) => message);
    // The second one fails at the client itself, which has been told.
    await large();
    expect(ip("-n", client, "route", "get", SERVER)).toContain("mtu 1400");
    ip("-n", inner, "link", "set", "int0", "mtu", "1500");
    await until(async () => (await port("int0")).mtu === 1500, "and again");
    ip("-n", client, "route", "flush", "cache");
    expect(await large()).toContain("1 received");
    expect(events(director, "device.mtu")).toMatchObject([
      { port: "int0", mtu: 1400, before: 1500 },
      { port: "int0", mtu: 1500, before: 1400 },
    ]);
    expect(events(director, "device.gone")).toEqual([]);
  });

  it("has neighbours that change their MAC, and say so or not", async () => {
    await direct();
    // It is only heard of, so that it is asked whether that is true as soon as it is used: the same happens later else.
    await inside(server, "ping", "-c", "1", "-W", "5", INNER);
    const connections = await hold(3);
    expect(await connections.check()).toEqual({ well: 3, resets: 0 });
    ip("-n", server, "link", "set", "eth0", "address", "02:00:00:00:99:02");
    ip("-n", client, "route", "add", `${SERVER}/32`, "via", VIP);
    const answers = () => inside(client, "ping", "-c", "1", "-W", "1", SERVER).then(() => true);
    await until(answers, "it is found by asking", 60_000);
    expect(await connections.check()).toEqual({ well: 3, resets: 0 });
    expect((await remote.counters()).neighboursChanged).toBe(0);
    // Nobody is believed twice within a second.
    await new Promise((resolve) => setTimeout(resolve, 1200));
    ip("-n", server, "link", "set", "eth0", "address", "02:00:00:00:99:01");
    // Whatever it sends next tells: the kernel asks for its neighbours anew.
    await inside(server, "ping", "-c", "1", "-W", "5", INNER);
    expect(await connections.check()).toEqual({ well: 3, resets: 0 });
    const neighbour = (await remote.neighbours()).find(({ address }) => address === SERVER);
    expect(neighbour?.mac).toBe("02:00:00:00:99:01");
    expect((await remote.counters()).neighboursChanged).toBe(1);
  });
});
