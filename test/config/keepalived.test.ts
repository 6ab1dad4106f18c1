/** keepalived's configurations: what becomes of them, and that nothing is dropped in silence. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { parseConfigFile } from "../../host/config/file.js";
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
      { words: ["a", "192.0.2.1", "192.0.2.10"], line: 3, children: [{ words: ["b", "c d", "e"], line: 4 }] },
      { words: ["f"], line: 6, children: [{ words: ["g"], line: 8, children: [{ words: ["h"], line: 8 }] }] },
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

  it("explains every line of Debian's samples that it leaves out", (context) => {
    if (!existsSync(SAMPLES)) context.skip("keepalived's documentation is not installed (apt-get install keepalived)");
    for (const name of readdirSync(SAMPLES).filter((file) => file.startsWith("keepalived.conf"))) {
      const { leftOut } = imported(readFileSync(join(SAMPLES, name), "utf8"));
      expect(
        leftOut.filter((line) => line.endsWith("has no counterpart")),
        name,
      ).toEqual([]);
    }
  });
});
