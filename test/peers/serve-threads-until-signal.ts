/** A server of two threads that ends at SIGTERM. Says its port, that it is stopping, and that it has finished. */
import { serveThreads } from "../../src/index.ts";

const server = serveThreads(new URL("../serve/handlers/commands.ts", import.meta.url), {
  listen: { hostname: "127.0.0.1" },
  threads: 2,
}).shutdownOn("SIGTERM");
process.once("SIGTERM", () => console.log("stopping"));
console.log(server.address.port);
void server.finished.then(() => console.log("finished"));
