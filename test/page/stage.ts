/** A director that serves its page, a client and two web servers behind NAT: the real thing, in namespaces. */
import { RemoteIpvs } from "../../host/control/client.js";
import { type Director, inside, ip, Network } from "../netns/network.js";
import { freePort } from "../support/free-port.js";

export const VIP = "192.168.4.133";
export const SERVERS = ["192.168.2.128", "192.168.2.129"] as const;
export const SERVICE = `tcp:${VIP}:80`;

const WEB = `
const { createServer } = require("node:http");
for (const host of process.argv.slice(1)) createServer((request, response) => {
  if (request.url === "/slow") setTimeout(() => response.end("late\\n"), 4000);
  else response.end("I am " + host + "\\n");
}).listen(80, host);
`;

export class Stage {
  readonly network = new Network();
  readonly client = this.network.namespace("client");
  readonly server = this.network.namespace("server");
  readonly socket = this.network.path("control.sock");
  readonly remote = new RemoteIpvs(this.socket);
  url = "";
  director: Director | undefined;
  private port = 0;

  /** Resolves when frames flow and both servers answer. */
  async start(...more: string[]): Promise<void> {
    this.port ||= await freePort();
    this.url = `http://127.0.0.1:${this.port}/`;
    this.director = this.network.director(
      ...["--tap", `ext0,ip=${VIP}/24,netns=${this.client}`, "--tap", `int0,ip=192.168.2.130/24,netns=${this.server}`],
      ...["--socket", this.socket, "--listen", `127.0.0.1:${this.port}`, "--log-level", "error"],
      ...["--vip", `${VIP}:80`, "--scheduler", "wrr", "--rip", SERVERS[0], "--rip", `${SERVERS[1]},weight=2`],
      ...more,
    );
    await this.director.ready();
    ip("-n", this.client, "addr", "replace", "192.168.4.132/24", "dev", "ext0");
    for (const address of SERVERS) ip("-n", this.server, "addr", "replace", `${address}/24`, "dev", "int0");
    ip("-n", this.server, "route", "replace", "default", "via", "192.168.2.130");
  }

  async serve(): Promise<void> {
    this.network.start(this.server, process.execPath, "-e", WEB, ...SERVERS);
    await this.ask(`http://${VIP}/`, "--retry", "30", "--retry-connrefused", "--retry-delay", "1");
  }

  ask(url = `http://${VIP}/`, ...more: string[]): Promise<string> {
    return inside(this.client, "curl", "-sS", "--max-time", "20", ...more, url);
  }

  /** Requests one after the other, until the end of the test, or for so many seconds. */
  traffic(pause: string, seconds = 120): void {
    const loop = `while curl -s --max-time 2 http://${VIP}/ >/dev/null; do sleep ${pause}; done`;
    this.network.start(this.client, "timeout", `${seconds}`, "sh", "-c", loop);
  }

  close(): void {
    this.network.close();
  }
}
