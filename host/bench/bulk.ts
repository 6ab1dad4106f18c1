/**
 * A TCP bulk transfer in plain Node, where iperf3 is missing: `bulk.js server PORT` takes in what comes and prints a
 * line of bytes and seconds for each connection; `bulk.js client ADDRESS PORT SECONDS` sends.
 */
import { connect, createServer } from "node:net";

function serve(port: number): void {
  createServer((socket) => {
    const from = performance.now();
    let bytes = 0;
    socket.on("data", (chunk) => (bytes += chunk.length));
    socket.on("error", () => {});
    socket.on("close", () => process.stdout.write(`${bytes} ${(performance.now() - from) / 1000}\n`));
  }).listen(port, () => process.stdout.write("listening\n"));
}

function send(address: string, port: number, seconds: number): void {
  const chunk = Buffer.alloc(256 * 1024);
  const end = performance.now() + seconds * 1000;
  const socket = connect(port, address, () => {
    const more = () => {
      while (performance.now() < end) if (!socket.write(chunk)) return;
      socket.end();
    };
    socket.on("drain", more);
    more();
  });
}

const [role, ...rest] = process.argv.slice(2);
if (role === "server") serve(Number(rest[0]));
else if (role === "client") send(rest[0] ?? "", Number(rest[1]), Number(rest[2]));
