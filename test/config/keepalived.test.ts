/** keepalived's configurations: what becomes of them, and that nothing is dropped in silence. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { parseConfigFile } from "../../host/config/file.js";
import { loadRunConfig } from "../../host/config/load.js";
import { importKeepalived } from "../../host/import/keepalived.js";
import { parseKeepalived } from "../../host/import/keepalived-syntax.js";

const SAMPLES = "/usr/share/doc/keepalived/samples";

function imported(text: string) {
  const result = importKeepalived(text);
  parseConfigFile("result", result.text);
  return {
    services: parse(result.text).services,
    leftOut: result.leftOut.map(({ line, text: what }) => `${line}: ${what}`),
  };
}

const TIMING = { interval: 10, timeout: 2, fall: 3, rise: 1, retry: 4 };

describe("keepalived's language", () => {
  it("has blocks, quotes, comments and variables", () => {
    const { nodes, problems } = parseKeepalived(
      `! note\n$VIP=192.0.2.1\na $VIP \${VIP}0 { # note\n  b "c d" e\n}\nf\n{\n  g{h}\n}\n@only this\n`,
    );
    expect(nodes).toEqual([
      {
        words: ["a", "192.0.2.1", "192.0.2.10"],
        line: 3,
        end: 5,
        children: [{ words: ["b", "c d", "e"], line: 4, end: 4 }],
      },
      {
        words: ["f"],
        line: 6,
        end: 9,
        children: [{ words: ["g"], line: 8, end: 8, children: [{ words: ["h"], line: 8, end: 8 }] }],
      },
    ]);
    expect(problems).toMatchObject([{ line: 10 }]);
  });

  it.each([
    ["a {\n", 1],
    ["a\n}\n", 2],
    ["\n{\n}\n", 2],
  ])("says where %j is wrong", (text, line) => {
    expect(parseKeepalived(text).problems).toMatchObject([{ line }]);
  });
});

describe("import of keepalived", () => {
  it.each(["toString", "constructor", "__proto__"])("knows no %s", (word) => {
    const { leftOut } = imported(`virtual_server 192.0.2.1 80 {\n  lb_kind ${word}\n  ${word} x\n}\n`);
    expect(leftOut.map((line) => line.slice(0, 2))).toEqual(["2:", "3:"]);
  });

  it("says that a group's name is missing", () => {
    expect(imported("virtual_server group").leftOut.join()).toContain("the group's name is missing");
    expect(imported("virtual_server group web").leftOut.join()).toContain("there is no virtual_server_group web");
  });

  it("takes services, servers and their checks over", () => {
    const { services, leftOut } = imported(`
global_defs {
  router_id X
}
virtual_server 192.0.2.80 80 {
  delay_loop 10
  retry 2
  delay_before_retry 4
  connect_timeout 2
  lb_algo sh
  sh-port
  lb_kind DR
  persistence_timeout
  persistence_granularity 255.255.255.0
  quorum 3
  hysteresis 1
  quorum_up "/bin/up now"
  alpha
  virtualhost www.example.org
  sorry_server 192.0.2.70 80
  real_server 192.0.2.71 80 {
    weight 3
    uthreshold 100
    inhibit_on_failure
    notify_down /bin/down
    HTTP_GET {
      url {
        path /a
        status_code 200 301-302
      }
      url {
        path /b
        digest 640205b7b0fc66c1ea91c463fac6334d
        virtualhost other.example.org
      }
      connect_port 8080
    }
    PING_CHECK
  }
  real_server 192.0.2.72 80 {
    lb_kind NAT
    inhibit_on_failure
    SSL_GET {
      enable_sni
      url { path / }
    }
    MISC_CHECK {
      misc_path "/bin/check -x 1"
      misc_timeout 7
      misc_dynamic
    }
  }
}`);
    expect(services).toEqual([
      {
        vip: "192.0.2.80:80",
        scheduler: "sh",
        flags: ["sh-port"],
        mode: "dr",
        persistent: 360,
        granularity: "255.255.255.0",
        on_failure: "inhibit",
        sorry: { rip: "192.0.2.70" },
        quorum: { weight: 3, hysteresis: 1, up: ["/bin/up", "now"] },
        servers: [
          {
            rip: "192.0.2.71",
            weight: 3,
            upper: 100,
            check: [
              { type: "http", path: "/a", status: [200, "301-302"], host: "www.example.org", port: 8080, ...TIMING },
              {
                type: "http",
                path: "/b",
                digest: "640205b7b0fc66c1ea91c463fac6334d",
                host: "other.example.org",
                port: 8080,
                ...TIMING,
              },
              { type: "ping", ...TIMING },
            ],
          },
          {
            rip: "192.0.2.72:80",
            mode: "nat",
            check: [
              { type: "https", path: "/", host: "www.example.org", sni: "www.example.org", ...TIMING },
              { type: "command", argv: ["/bin/check", "-x", "1"], ...TIMING, timeout: 7 },
            ],
          },
        ],
      },
    ]);
    expect(leftOut).toEqual([
      "2: global_defs: settings of keepalived's own (mail, SNMP, processes)",
      "18: alpha: a server is used here until its checks say otherwise",
      "25: notify_down /bin/down: read the log's event health.down instead",
      "50: misc_dynamic: a command says up or down, not a weight",
    ]);
  });

  it("spreads groups out, ranges and marks", () => {
    const { services, leftOut } = imported(
      `
virtual_server_group G {
  192.0.2.8-10 53
  fwmark 5
}
virtual_server group G {
  protocol UDP
  real_server 10.0.0.1 53 {
    UDP_CHECK { require_reply }
    DNS_CHECK { name example.org
      type A
    }
  }
}
virtual_server fwmark 6 {
  ip_family inet6
  real_server 2001:db8::1 { TCP_CHECK { connect_port 80 } }
  real_server 2001:db8::2 { TCP_CHECK }
}
virtual_server group H { real_server 10.0.0.1 1 }
virtual_server_group I { 192.0.2.1 1 }
`,
    );
    expect(services.map(({ vip, mark }: { vip?: string; mark?: number }) => vip ?? mark)).toEqual([
      "192.0.2.8:53",
      "192.0.2.9:53",
      "192.0.2.10:53",
      5,
      6,
    ]);
    expect(services[0]).toMatchObject({
      protocol: "udp",
      servers: [
        {
          check: [
            { type: "udp", expect: "" },
            { type: "dns", name: "example.org", record: "A" },
          ],
        },
      ],
    });
    expect(services[4]).toMatchObject({ family: 6, servers: [{ rip: "[2001:db8::1]:0" }, { rip: "[2001:db8::2]:0" }] });
    expect(leftOut.join("\n")).toMatch(/TCP_CHECK: it needs connect_port/);
    expect(leftOut.join("\n")).toMatch(/there is no virtual_server_group H/);
    expect(leftOut.join("\n")).toMatch(/virtual_server_group I: no virtual_server uses it/);
  });

  it("checks the hosts of a mail check by connections", () => {
    const { services, leftOut } = imported(`
virtual_server 192.0.2.1 25 {
  real_server 10.0.0.1 25 {
    SMTP_CHECK {
      helo_name me
      host {
        connect_ip 10.0.1.1
        connect_port 2525
        bindto 10.0.0.9
      }
      host { connect_port 26 }
    }
  }
}
`);
    expect(services[0].servers[0].check).toMatchObject([
      { type: "tcp", address: "10.0.1.1", port: 2525 },
      { type: "tcp", port: 26 },
    ]);
    expect(leftOut).toEqual([
      "4: SMTP_CHECK: the dialogue is left out: a TCP connection is checked instead",
      "5: helo_name me: no dialogue, no name to begin it with",
      "9: bindto 10.0.0.9: checks leave from where check_netns says",
    ]);
  });

  const samples = existsSync(SAMPLES) ? readdirSync(SAMPLES).filter((file) => file.startsWith("keepalived.conf")) : [];

  it("refuses values that no configuration has, with the line of the server or service that has them", () => {
    const two = (digest: string, persistence: string) => `! two
virtual_server 10.0.0.1 80 {
  real_server 10.0.1.1 80 { TCP_CHECK { } }
  real_server 10.0.1.2 80 {
    HTTP_GET { url { path /
                     digest ${digest} } } }
}
virtual_server 10.0.0.2 80 { persistence_timeout ${persistence} }
`;
    const right = "640205b7b0fc66c1ea91c463fac6334d";
    expect(importKeepalived(two(right, "60"), "old.conf").services).toBe(2);
    expect(() => importKeepalived(two(right, "abc"), "old.conf")).toThrow(
      /^old\.conf:8: services\[2\]\.persistent: write seconds, or true$/,
    );
    expect(() => importKeepalived(two("xyz", "60"), "old.conf")).toThrow(
      /^old\.conf:4: services\[1\]\.servers\[2\]\.check.*digest: write 32 \(MD5\)/,
    );
  });

  it("finds Debian's samples", (context) => {
    if (!existsSync("/usr/sbin/keepalived")) context.skip("keepalived is not installed (apt-get install keepalived)");
    expect(samples.length).toBeGreaterThan(20);
  });

  it.each(samples)("%s: every line is translated, or left out with a reason", async (name) => {
    const lines = readFileSync(join(SAMPLES, name), "utf8").split("\n");
    const whole = importKeepalived(lines.join("\n"));
    expect(
      whole.leftOut.filter(({ text }) => text.endsWith("has no counterpart")),
      "without a reason",
    ).toEqual([]);
    const without = (at: number, instead: string) => {
      try {
        const { text, leftOut } = importKeepalived(lines.with(at, instead).join("\n"));
        return JSON.stringify([text, leftOut]);
      } catch (error) {
        // Another word than the right one is refused: a digest, an address.
        return (error as Error).message;
      }
    };
    const before = JSON.stringify([whole.text, whole.leftOut]);
    const explained = (line: number) => whole.leftOut.some((one) => line >= one.line && line <= (one.end ?? one.line));
    const silent = lines.flatMap((text, at) => {
      if (/^\s*([!#].*|[{}\s]*)$/.test(text) || explained(at + 1)) return [];
      // What is translated makes a difference: another word in its place another result.
      const other = text.replace(/([\w./:-]+)("?\s*(?:\{.*)?(?:[!#].*)?)$/, (_, word: string, rest: string) =>
        /^\d+$/.test(word) ? `${Number(word) + 1}${rest}` : `${word}x${rest}`,
      );
      // A word alone says all by being there.
      const changed = /^\s*\S+\s*$/.test(text) ? "" : other;
      return without(at, changed) === before ? [`${at + 1}: ${text}`] : [];
    });
    expect(silent).toEqual([]);
    // And the result is a configuration.
    const directory = mkdtempSync(join(tmpdir(), "wlvs-import-"));
    try {
      const file = join(directory, "imported.yaml");
      writeFileSync(file, whole.text);
      const none = async () => [];
      const marks = async () => ({ file: "", text: "" });
      const config = await loadRunConfig([["config", file]], { env: {}, rules: none, marks, portless: true });
      expect(config.steps.filter(({ step }) => step.do === "addService")).toHaveLength(whole.services);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
