import { describe, expect, it } from "vitest";
import { parseRunOptions, type Token } from "../../host/config/options.js";
import { LvsError } from "../../host/errors.js";

/** Words of a command line as the tokens that the command gets. */
function parse(line: string, env: Record<string, string> = {}) {
  const words = line.split(" ").filter((word) => word !== "");
  const tokens: Token[] = [];
  for (let n = 0; n < words.length; n++) {
    const [, name, value] = /^--([a-z-]+)(?:=(.*))?$/.exec(words[n]!)!;
    const next = words[n + 1];
    if (value !== undefined) tokens.push([name!, value]);
    else if (next !== undefined && !next.startsWith("--")) tokens.push([name!, words[++n]!]);
    else tokens.push([name!, null]);
  }
  const marks = async (file: string) => ({ file, text: "" });
  return parseRunOptions(tokens, { env, rules: async () => [], marks });
}

async function refusal(line: string): Promise<string> {
  try {
    await parse(line);
  } catch (error) {
    expect(error).toBeInstanceOf(LvsError);
    expect((error as LvsError).exitStatus).toBe(2);
    expect((error as LvsError).message).not.toContain("\n");
    return (error as LvsError).message;
  }
  throw new Error(`taken: ${line}`);
}

const TAP = "--tap ext0,ip=192.0.2.1/24";

describe("the flags of run", () => {
  it("start a director with nothing but a port", async () => {
    const config = await parse(TAP);
    expect(config.ports).toEqual([
      { kind: "tap", name: "ext0", addresses: ["192.0.2.1/24"], gateways: [], persist: false },
    ]);
    expect(config).toMatchObject({ socket: "/run/wlvs.sock", workers: 1, io: "auto", profile: "wlvs", forward: true });
    expect(config.settings.map(([name]) => name)).toEqual([
      "reschedule",
      "expire_nodest_conn",
      "mss_clamp",
      "drain_seconds",
      "kernel_quirks",
    ]);
  });

  it("take every part of a port", async () => {
    const line = "--tap a,ip=192.0.2.1/24,ip=[x],mtu=9000".replace("[x]", "2001:DB8::1/64");
    const more = ",mac=2:0:0:0:0:1,gw=192.0.2.254,bridge=br0,netns=n,persist=on";
    expect((await parse(`${line}${more}`)).ports[0]).toEqual({
      kind: "tap",
      name: "a",
      addresses: ["192.0.2.1/24", "2001:db8::1/64"],
      gateways: ["192.0.2.254"],
      mac: "02:00:00:00:00:01",
      mtu: 9000,
      bridge: "br0",
      netns: "n",
      persist: true,
    });
  });

  it("give four flags to the service named last", async () => {
    const config = await parse(
      `${TAP} --vip 192.0.2.9:80 --rip 192.0.2.11,weight=3 --scheduler rr --vip [2001:db8::9]:53/udp --persistent --mode dr --rip [2001:db8::2]`,
    );
    expect(config.steps.map(({ step }) => step)).toMatchObject([
      { do: "addService", service: { id: { protocol: "tcp", port: 80 }, scheduler: "rr" } },
      { do: "addServer", server: { id: { address: "192.0.2.11", port: 80 }, weight: 3, forwarding: "nat" } },
      { do: "addService", service: { id: { family: 6, protocol: "udp" }, scheduler: "wlc", persistence: 360 } },
      { do: "addServer", server: { id: { address: "2001:db8::2", port: 53 }, forwarding: "dr" } },
    ]);
    expect(config.warnings).toEqual(["2001:db8::9 is in no port's subnet: it must be routed here"]);
  });

  it("give limits to the service named last", async () => {
    const config = await parse(
      `${TAP} --vip 192.0.2.9:80 --limit connections=9,source-rate=5/s,rate=7 --rip 192.0.2.2 --vip 192.0.2.9:81`,
    );
    const [one, , two] = config.steps.map(({ step }) => step);
    expect(one).toMatchObject({ service: { limits: { connections: 9, rate: 7, perSource: { rate: 5 } } } });
    expect(two).not.toHaveProperty("service.limits");
  });

  it("take the socket of the environment, and the flag before it", async () => {
    expect((await parse(TAP, { WLVS_SOCKET: "/tmp/e" })).socket).toBe("/tmp/e");
    expect((await parse(`${TAP} --socket /tmp/f`, { WLVS_SOCKET: "/tmp/e" })).socket).toBe("/tmp/f");
  });

  it("leave the kernel's settings alone in its profile", async () => {
    const config = await parse(`${TAP} --profile kernel --set net.ipv4.vs.sloppy_tcp=1 --no-forward`);
    expect(config.settings).toEqual([["net.ipv4.vs.sloppy_tcp", "1"]]);
    expect(config.forward).toBe(false);
  });

  it.each([
    ["", "no port"],
    ["--tap", "name is missing"],
    ["--tap ext0,ip=192.0.2.1", "write 192.0.2.1/24"],
    ["--tap ext0,ip=192.0.2.1/33", "/0 to /32"],
    ["--tap ext0,ip=224.0.0.1/24", "no address of a machine"],
    ["--tap ext0,gw=192.0.2.1", "in none of its subnets"],
    ["--tap ext0,mtu=1", "68 to 65521"],
    ["--tap ext0,ip=2001:db8::1/64,mtu=1000", "1280"],
    ["--tap ext0,mac=01:00:00:00:00:01", "multicast"],
    ["--tap ext0,colour=red", "no colour="],
    ["--tap a.name.too.long0", "at most 15"],
    ["--tap ext0 --tap ext0", "given twice"],
    ["--tun t,mac=02:00:00:00:00:01", "for --tap"],
    ["--tun t,routes=on", "auto"],
    ["--tun t,routes=auto --tun u,routes=auto", "given twice"],
    ["--tun t,routes=auto --vip 192.0.2.9:80 --rip 192.0.2.2,mode=fullnat", "address of the director"],
    [`${TAP} --rip 192.0.2.2`, "--vip ADDR:PORT before it"],
    [`${TAP} --vip 192.0.2.9`, "port is missing"],
    [`${TAP} --vip 192.0.2.9:65536`, "no port"],
    [`${TAP} --vip 192.0.2.9:0`, "--persistent"],
    [`${TAP} --vip 192.0.2.9:80/icmp`, "tcp, udp, sctp"],
    [`${TAP} --vip 2001:db8::1:80`, "brackets"],
    [`${TAP} --vip 192.0.2.9:80 --vip 192.0.2.9:80`, "given twice"],
    [`${TAP} --vip 192.0.2.9:80 --scheduler best`, "wlc"],
    [`${TAP} --vip 192.0.2.9:80 --mode best`, "nat, dr, tun, fullnat"],
    [`${TAP} --vip 192.0.2.9:80 --persistent 0`, "1 to"],
    [`${TAP} --vip 192.0.2.9:80 --rip 192.0.2.2 --rip 192.0.2.2:80`, "given twice"],
    [`${TAP} --vip 192.0.2.9:80 --rip 192.0.2.2,weight=65536`, "0 to 65535"],
    [`${TAP} --vip 192.0.2.9:80 --rip 192.0.2.2:81,mode=dr`, "leave :81 away"],
    [`${TAP} --vip 192.0.2.9:80 --rip [2001:db8::2]`, "IPv6 server"],
    ["--tun t --vip 192.0.2.9:80 --rip 192.0.2.2,mode=dr", "needs Ethernet"],
    [`${TAP} --set nothing=1`, "no setting"],
    [`${TAP} --set sloppy_tcp=yes`, "numbers"],
    [`${TAP} --route 10.0.0.0/8,via=198.51.100.1`, "no port's subnet"],
    [`${TAP} --route 10.0.0.0/8,local,mark=0`, "mark= takes a number"],
    [`${TAP} --route 10.0.0.0,local`, "no prefix length"],
    [`${TAP} --neigh 192.0.2.7,02:00:00:00:00:01,dev=x`, "no port x"],
    [`${TAP} --procfs=`, "write a directory"],
    [`${TAP} --limit rate=1`, "--vip ADDR:PORT before it"],
    [`${TAP} --vip 192.0.2.9:80 --limit rate=0`, "rate 0: write a number from 1 to 10000000"],
    [`${TAP} --vip 192.0.2.9:80 --limit source-connections=4294967296`, "1 to 4294967295"],
    [`${TAP} --vip 192.0.2.9:80 --limit rate=5/m`, "5/m: write a number"],
    [`${TAP} --vip 192.0.2.9:80 --limit speed=5`, "speed=5: write connections=N, rate=N, source-connections=N"],
    [`${TAP} --vip 192.0.2.9:80 --limit rate=5,rate=6`, "rate= is given twice"],
    [`${TAP} --vip 192.0.2.9:80 --limit rate=5,`, "an empty part"],
    [`${TAP} --vip 192.0.2.9:80 --limit rate=5 --limit connections=6`, "has limits already"],
    [`${TAP} --syn-proxy maybe`, "auto, on, off"],
    [`${TAP} --syn-proxy on --vip 192.0.2.9:80 --mode dr --rip 192.0.2.2`, "--rip 192.0.2.2 has mode dr"],
    [`${TAP} --syn-proxy on --vip 192.0.2.9:80 --rip 192.0.2.2,mode=tun`, "has mode tun"],
    [`${TAP} --workers 0`, "1 to 32"],
    [`${TAP} --max-connections 40000000 --workers 32`, "the core can address"],
    [`${TAP} --listen-admin`, "--listen"],
    [`${TAP} --log-level loud`, "trace, debug"],
  ])("refuse %s", async (line, why) => {
    expect(await refusal(line)).toContain(why);
  });
});
