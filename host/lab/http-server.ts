/**
 * A web server whose every page says the same: `node http-server.js ADDRESS PORT TEXT`. Runs inside a namespace, says
 * "ready" once it listens, and ends when its standard input does, so that it never outlives who started it.
 */
import { createServer } from "node:http";

const [address, port, text] = process.argv.slice(2);

const server = createServer((_request, response) => {
  response.writeHead(200, { "content-type": "text/plain", connection: "close" });
  response.end(`${text}\n`);
});
server.on("error", (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
server.listen(Number(port), address, () => process.stdout.write("ready\n"));
process.stdin.on("end", () => process.exit(0)).resume();
