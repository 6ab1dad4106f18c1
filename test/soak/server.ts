/** Says back what it hears, by TCP (9000) and UDP (7000), in a server's namespace. Ends with its standard input. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

createServer((socket) => socket.on("error", () => socket.destroy()).pipe(socket)).listen(9000, "0.0.0.0");
const udp = createSocket("udp4");
udp.on("error", () => {});
udp.on("message", (text, from) => udp.send(text, from.port, from.address, () => {})).bind(7000, "0.0.0.0");
process.on("SIGINT", () => {});
process.stdin.on("end", () => process.exit(0)).resume();
