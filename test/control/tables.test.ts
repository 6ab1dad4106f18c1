/** The core's tables as they look through the socket: as beside it, refusals too, and the rules as ipvsadm prints them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import { runIpvsadm } from "../../host/ipvs/command.js";
import { type Ipvs, IpvsError } from "../../host/ipvs/model.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { FakeInfo } from "./fake.js";

const engine = createDirector();
const directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
const socketPath = join(directory, "wlvs.sock");
const remote = new RemoteIpvs(socketPath);
let control: ControlServer;

beforeAll(async () => {
  control = await createControlServer({ ipvs: engine.ipvs, info: new FakeInfo(), socketPath });
});

afterAll(async () => {
  await control.close();
  rmSync(directory, { recursive: true, force: true });
});

const [one, two] = NET.servers.map(({ ip }) => ip);

async function refusal(act: Promise<void>): Promise<[string, number]> {
  const error = await act.then(() => undefined).catch((cause: unknown) => cause);
  if (!(error instanceof IpvsError)) throw new Error(`not refused by the tables: ${error}`);
  return [error.code, error.errno];
}

it("makes the same changes and refuses with the same errno", async () => {
  const web = service(80, "wrr");
  await remote.addService(web);
  await remote.addServer(web.id, server(one!, 80, "nat", { weight: 3 }));
  await remote.addServer(web.id, server(two!, 80, "nat", { weight: 1 }));
  await remote.addService(service(443, "sh", "tcp", { persistence: 360, schedulerFlags: 1 }));
  expect(await remote.services()).toEqual(await engine.ipvs.services());
  expect(await remote.service(web.id)).toEqual(await engine.ipvs.service(web.id));
  expect(await remote.timeouts()).toEqual(await engine.ipvs.timeouts());
  expect(await remote.tableSize()).toBe(await engine.ipvs.tableSize());
  const attempts: ReadonlyArray<(ipvs: Ipvs) => Promise<void>> = [
    (ipvs) => ipvs.addService(web),
    (ipvs) => ipvs.addService(service(81, "nothing")),
    (ipvs) => ipvs.editService(service(82)),
    (ipvs) => ipvs.removeService(service(82).id),
    (ipvs) => ipvs.addServer(web.id, server(one!, 80)),
    (ipvs) => ipvs.editServer(web.id, server(NET.servers[2].ip, 80)),
    (ipvs) => ipvs.removeServer(service(82).id, server(one!, 80).id),
    (ipvs) => ipvs.addServer(web.id, server(NET.servers[2].ip, 80, "nat", { weight: -1 })),
  ];
  for (const attempt of attempts) {
    expect(await refusal(attempt(remote)), String(attempt)).toEqual(await refusal(attempt(engine.ipvs)));
  }
});

it("keeps nothing of a transaction that fails", async () => {
  const before = await remote.services();
  const failing = remote.transaction([
    { do: "addService", service: service(8080) },
    { do: "addServer", service: service(8080).id, server: server(one!, 8080) },
    { do: "addService", service: service(8080) },
  ]);
  await expect(failing).rejects.toMatchObject({ code: "EEXIST" });
  expect(await remote.services()).toEqual(before);
});

it("prints the rules that it was given", async () => {
  async function listing(ipvs: Ipvs): Promise<string> {
    let text = "";
    const stdout = (piece: string) => {
      text += piece;
    };
    await runIpvsadm(["-S", "-n"], ipvs, { stdin: async () => "", stdout, stderr: stdout });
    return text;
  }
  expect(await listing(remote)).toBe(await listing(engine.ipvs));
  expect(await listing(remote)).toContain(`-a -t ${NET.vip}:80 -r ${one}:80 -m -w 3\n`);
});
