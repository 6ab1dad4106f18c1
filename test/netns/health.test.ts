/** A director with a configuration file, its checks, and what happens to both while it runs. */
import { readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { inside, ip, waitFor } from "./network.js";
import {
  A,
  B,
  bothUp,
  client,
  config,
  file,
  remote,
  servers,
  serving,
  spawnWlvs,
  start,
  stateOf,
  until,
  usePair,
  VIP,
  weights,
  wlvs,
} from "./pair.js";

usePair();

describe("health checks", () => {
  it.each(["tcp", "http", "ping"])("take a silent server out with %s, and bring it back", async (type) => {
    const director = await start(config(`check: {type: ${type}}`));
    await bothUp();
    ip("-n", servers.get(B)!, "link", "set", "eth0", "down");
    await until(async () => !(B in (await weights())), "B is out");
    expect(await stateOf(B)).toBe("down");
    for (let n = 0; n < 4; n++)
      expect(await inside(client, "curl", "-sS", "-m", "2", `http://${VIP}/`)).toBe(`I am ${A}\n`);
    ip("-n", servers.get(B)!, "link", "set", "eth0", "up");
    ip("-n", servers.get(B)!, "route", "replace", "default", "via", "192.168.2.130");
    await until(async () => (await weights())[B] === 2, "B is back", 20_000);
    const events = director.stderr
      .split("\n")
      .filter((line) => line.includes('"event":"health.'))
      .map((line) => JSON.parse(line) as { event: string; server: string; service: string });
    expect(events).toMatchObject([
      { event: "health.down", server: `${B}:80`, service: `tcp:${VIP}:80` },
      { event: "health.up", server: `${B}:80` },
    ]);
    expect((await director.stop()).status).toBe(0);
  });

  it("run commands without privileges", async () => {
    const argv = `["sh", "-c", "[ $(id -u) = 65534 ] && [ $VIP = ${VIP} ] && [ $RIP = ${A} ]"]`;
    const director = await start(config(`check: {type: command, argv: ${argv}}\n    on_failure: inhibit`));
    await until(async () => (await stateOf(A)) === "up" && (await stateOf(B)) === "down", "A alone is up");
    expect(await weights()).toEqual({ [A]: 1, [B]: 0 });
    expect((await director.stop()).status).toBe(0);
  });
});

describe("a running director", () => {
  it("applies what is different in its file, and leaves connections alone", async () => {
    const director = await start(config("check: {type: tcp}"));
    await bothUp();
    const slow = inside(client, "curl", "-sS", "-m", "20", `http://${VIP}/slow`);
    await until(async () => (await remote.services())[0]!.servers.some(({ active }) => active === 1), "a connection");
    const busy = (await remote.services())[0]!.servers.find(({ active }) => active === 1)!.id.address;
    writeFileSync(file, config("check: {type: tcp}", [`{rip: "${A}:80", weight: 5}`, `{rip: "${B}:80", weight: 7}`]));
    expect((await wlvs("check", file)).out).toContain(`  -e -t ${VIP}:80 -r ${A}:80 -m -w 5\n`);
    const { status, out } = await wlvs("reload");
    expect(status).toBe(0);
    expect(out).toBe(`-e -t ${VIP}:80 -r ${A}:80 -m -w 5\n-e -t ${VIP}:80 -r ${B}:80 -m -w 7\n`);
    expect(await weights()).toEqual({ [A]: 5, [B]: 7 });
    expect((await wlvs("check", file)).out).toContain("the running director has these services");
    expect(await slow).toBe("begun and ended\n");
    expect(
      (await remote.services())[0]!.servers.find(({ id }) => id.address === busy)!.stats.connections,
    ).toBeGreaterThan(0);

    // A new service, by signal.
    writeFileSync(file, `${config("check: {type: tcp}")}  - vip: ${VIP}:443\n    servers: [{rip: "${A}:443"}]\n`);
    director.child.kill("SIGHUP");
    await until(async () => (await remote.services()).length === 2, "the second service");
    expect(await weights()).toEqual({ [A]: 1, [B]: 2 });
  });

  it("changes nothing for a bad file, and says what is wrong", async () => {
    const director = await start(config("check: {type: tcp}"));
    writeFileSync(file, config("check: {type: tpc}", [`{rip: "${A}:80", wieght: 5}`, `{rip: "${B}:80", weight: -1}`]));
    const { status, err } = await wlvs("reload");
    expect(status).toBe(1);
    expect(err).toMatch(/wlvs\.yaml:12: services\[1\]\.check\.type: write type: one of tcp, http/);
    expect(err).toMatch(/wlvs\.yaml:14: services\[1\]\.servers\[1\]: no such key: wieght: write one of rip, weight/);
    expect(err).toMatch(/wlvs\.yaml:15: services\[1\]\.servers\[2\]\.weight: write a number from 0 to 65535/);
    director.child.kill("SIGHUP");
    await waitFor(() => director.stderr.includes('"event":"config.refused"'), "the log says so");
    expect(await weights()).toEqual({ [A]: 1, [B]: 2 });
    expect((await wlvs("check", file)).status).toBe(2);
  });

  it("keeps what was changed by hand when it dies, and who is down", async () => {
    await start(config("check: {type: tcp}"));
    await bothUp();
    expect((await wlvs("ipvsadm", "-e", "-t", `${VIP}:80`, "-r", `${B}:80`, "-m", "-w", "9")).status).toBe(0);
    expect((await wlvs("ipvsadm", "-A", "-u", `${VIP}:53`, "-s", "sh")).status).toBe(0);
    ip("-n", servers.get(B)!, "link", "set", "eth0", "down");
    await until(async () => !(B in (await weights())), "B is out");
    // Known by weight 4 from now on, though it is out.
    expect((await wlvs("ipvsadm", "-e", "-t", `${VIP}:80`, "-r", `${B}:80`, "-m", "-w", "4")).status).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { pid } = await remote.status();
    process.kill(pid, "SIGKILL");
    await until(async () => (await remote.status()).pid !== pid, "another director");
    await until(async () => !(B in (await weights())), "B is out at once", 1000);
    expect(
      (await remote.services()).map(({ id, scheduler }) => ("protocol" in id ? `${id.protocol} ${scheduler}` : "")),
    ).toEqual(expect.arrayContaining(["udp sh", "tcp rr"]));
    ip("-n", servers.get(B)!, "link", "set", "eth0", "up");
    await until(async () => (await weights())[B] === 4, "B is back", 20_000);
  });

  it("saves what was changed by hand into its file, comments and checks included", async () => {
    await start(config("check: {type: tcp} # looked after").replace("watch: false", "watch: true"));
    await wlvs("ipvsadm", "-e", "-t", `${VIP}:80`, "-r", `${B}:80`, "-m", "-w", "9");
    await wlvs("ipvsadm", "-a", "-t", `${VIP}:80`, "-r", "192.168.2.140:8080", "-m");
    await wlvs("ipvsadm", "-A", "-f", "7", "-s", "wlc");
    expect((await wlvs("check", file)).out).toMatch(/-d -t 192\.168\.4\.133:80 -r 192\.168\.2\.140:8080/);
    const { status, out } = await wlvs("save", file);
    expect(status).toBe(0);
    expect(out).toContain("-A -f 7 -s wlc");
    const text = readFileSync(file, "utf8");
    expect(text).toContain("# looked after");
    expect(text).toMatch(/rip: "?192\.168\.2\.129:80"?, weight: 9/);
    expect(text).toContain("192.168.2.140:8080");
    expect(text).toMatch(/mark: 7/);
    expect((await wlvs("check", file)).out).toContain("the running director has these services");
    // It has been read, with what it means for checks.
    await wlvs("ipvsadm", "-e", "-t", `${VIP}:80`, "-r", "192.168.2.140:8080", "-m", "-w", "3");
    await new Promise((resolve) => setTimeout(resolve, 600));
    const drift = `-e -t ${VIP}:80 -r 192.168.2.140:8080 -m -w 1`;
    expect((await remote.configuration()).drift).toEqual([drift]);
    expect((await wlvs("reload")).out).toBe(`${drift}\n`);
    const plain = await wlvs("save");
    expect(plain.out).toContain(`vip: ${VIP}:80`);
    expect((await wlvs("save", "--rules")).out).toContain(`-a -t ${VIP}:80 -r ${B}:80 -m -w 9\n`);
  });

  it("drains a server", async () => {
    await start(config("check: {type: tcp}", [`{rip: "${A}:80"}`]));
    const slow = inside(client, "curl", "-sS", "-m", "20", `http://${VIP}/slow`);
    await until(async () => (await remote.services())[0]!.servers[0]!.active === 1, "a connection");
    const impatient = await wlvs("drain", A, "--timeout", "0.2");
    expect(impatient).toMatchObject({ status: 1, err: "wlvs: after 0.2 s 1 connection is left\n" });
    const { status, out } = await wlvs("drain", A);
    expect(out).toMatch(
      /^192\.168\.2\.128:80 gets no new clients of tcp:\S+\n(1 connection is left\n)?no connections are left( after \d+s)?\n$/,
    );
    expect(status).toBe(0);
    expect(await slow).toBe("begun and ended\n");
    expect((await weights())[A]).toBe(0);
    expect((await wlvs("drain", "192.0.2.1")).status).toBe(2);
  });

  it("applies its file when that is written anew, in place or by a rename, and refuses a bad one", async () => {
    const text = (weight: number) =>
      config("check: {type: tcp}", [`{rip: "${A}:80", weight: ${weight}}`, `{rip: "${B}:80"}`]).replace(
        "watch: false",
        "watch: true",
      );
    const director = await start(text(1));
    writeFileSync(file, text(5));
    await until(async () => (await weights())[A] === 5, "written in place");
    writeFileSync(`${file}.swp`, text(6));
    renameSync(`${file}.swp`, file);
    await until(async () => (await weights())[A] === 6, "renamed");
    // As editors do it that keep what was there.
    renameSync(file, `${file}~`);
    writeFileSync(file, text(7));
    await until(async () => (await weights())[A] === 7, "moved away and written");
    const reads = () => director.stderr.split('"event":"config.reloaded"').length;
    const before = reads();
    utimesSync(file, new Date(), new Date());
    // Nothing in it, for whatever reason: nobody wants to lose all services by that.
    writeFileSync(file, "");
    await until(async () => (await remote.configuration()).refused !== undefined, "an empty file");
    expect(await weights()).toEqual({ [A]: 7, [B]: 1 });
    writeFileSync(file, text(8).replace("scheduler: rr", "scheduler: xx"));
    await until(async () => /xx|scheduler/.test((await remote.configuration()).refused?.message ?? ""), "a bad file");
    expect((await remote.configuration()).refused!.message).toMatch(
      /wlvs\.yaml:\d+: services\[1\]\.scheduler: write one of/,
    );
    expect(await weights()).toEqual({ [A]: 7, [B]: 1 });
    expect(director.stderr).toContain('"event":"config.refused"');
    const status = await wlvs("status");
    expect(status.out).toMatch(
      /^configuration \S+wlvs\.yaml, read \d+s ago\nrefused \d+s ago, nothing of it is applied:\n {2}\S+:\d+: services/m,
    );
    expect(reads()).toBe(before);
    rmSync(file);
    await waitFor(() => director.stderr.includes("is not there any more"), "it is gone");
    writeFileSync(file, text(9));
    await until(async () => (await weights())[A] === 9, "it is there again");
    expect((await remote.configuration()).refused).toBeUndefined();
  });

  it("leaves its file alone until it is asked, where that is said", async () => {
    await start(config("check: {type: tcp}"));
    writeFileSync(file, config("check: {type: tcp}", [`{rip: "${A}:80", weight: 5}`]));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(await weights()).toEqual({ [A]: 1, [B]: 2 });
    expect((await wlvs("reload")).status).toBe(0);
    expect(await weights()).toEqual({ [A]: 5 });
  });

  it("goes on with its ports when the file has others, also after it died", async () => {
    const director = await start(config("check: {type: tcp}"));
    const ports = async () => (await remote.ports()).map(({ name, addresses }) => `${name} ${addresses}`);
    const before = await ports();
    const other = config("check: {type: tcp}", [`{rip: "${A}:80", weight: 5}`]).replace(/ {2}- \{tap: ext0.*\n/, "");
    writeFileSync(file, other);
    for (let n = 0; n < 2; n++) {
      expect((await wlvs("reload")).err).toBe("wlvs: waits for a restart of the director: ports\n");
    }
    const { pid } = await remote.status();
    process.kill(pid, "SIGKILL");
    // Nobody is there to take it: the next one does.
    writeFileSync(file, other.replace("weight: 5", "weight: 6"));
    director.child.kill("SIGHUP");
    await until(async () => (await remote.status()).pid !== pid, "another director");
    await until(async () => (await weights())[A] === 6, "what came while there was none");
    expect(await ports()).toEqual(before);
    const began = performance.now();
    expect((await director.stop()).status).toBe(0);
    // The one that died is not waited for: that would be three seconds.
    expect(performance.now() - began).toBeLessThan(2900);
  });

  it("shows what was changed by hand as drift, and health", async () => {
    await start(config("check: {type: tcp}"));
    await bothUp();
    expect((await remote.configuration()).drift).toEqual([]);
    expect((await wlvs("status")).out).not.toContain("differ");
    await wlvs("ipvsadm", "-e", "-t", `${VIP}:80`, "-r", `${B}:80`, "-m", "-w", "9");
    await wlvs("ipvsadm", "-A", "-f", "7", "-s", "wlc");
    await wlvs("ipvsadm", "--set", "600", "0", "0");
    const drift = ["-D -f 7", `-e -t ${VIP}:80 -r ${B}:80 -m -w 2`, "--set 900 120 300"];
    expect((await remote.configuration()).drift).toEqual(drift);
    const checked = (await wlvs("check", file)).out;
    for (const change of drift) expect(checked).toContain(`  ${change}\n`);
    serving.get(B)!.kill("SIGKILL");
    await until(async () => (await stateOf(B)) === "down", "B is down");
    const { out } = await wlvs("status");
    expect(out).toContain(
      `what runs differs from it in 3 places: 'wlvs check ${file}' shows them, 'wlvs save ${file}' keeps them\n`,
    );
    expect(out).toMatch(/ {2}-> 192\.168\.2\.128:80 +nat .* up\n/);
    expect(out).toMatch(/ {2}-> 192\.168\.2\.129:80 +out +down: connection refused\n/);
    await wlvs("save", file);
    expect(readFileSync(file, "utf8")).toContain("timeouts:\n  tcp: 600\n");
    await wlvs("reload");
    expect((await remote.configuration()).drift).toEqual([]);
    expect((await remote.timeouts()).tcp).toBe(600);
  });

  it("gives weights back when a drain is interrupted", async () => {
    await start(config("check: {type: tcp}"));
    await bothUp();
    const slow = inside(client, "curl", "-sS", "-m", "20", `http://${VIP}/slow`);
    await until(async () => (await remote.services())[0]!.servers.some(({ active }) => active === 1), "a connection");
    const busy = (await remote.services())[0]!.servers.find(({ active }) => active === 1)!;
    const draining = spawnWlvs("drain", busy.id.address);
    await until(async () => (await weights())[busy.id.address] === 0, "weight 0");
    await waitFor(() => draining.out.includes("1 connection is left"), "progress");
    draining.child.kill("SIGINT");
    expect(await draining.ended).toBe(130);
    expect(draining.err).toBe("wlvs: interrupted: the weights are as they were\n");
    expect((await weights())[busy.id.address]).toBe(busy.weight);
    expect(await slow).toBe("begun and ended\n");
  });
});
