/**
 * A server that ends at a signal: serve-until-signal.ts HOW. "idle" handlers wait under their context, "stuck" ones for
 * nothing; "unref" has a listener for which no process would stay. Says its port, each connection, and how it ended.
 */
import { listen, serve } from "../../src/index.ts";

const [how = "idle"] = process.argv.slice(2);
const listener = listen({ hostname: "127.0.0.1" });
if (how === "unref") listener.unref();
const server = serve(listener, async (socket, { cancel }) => {
  await socket.write("hello");
  console.log("connected");
  if (how === "stuck") await new Promise(() => {});
  await socket.read(new Uint8Array(16), { cancel });
}).shutdownOn("SIGINT", "SIGTERM");
console.log(listener.address.port);
void server.finished.then(() => console.log("finished"));
process.once("exit", () => console.log(`exit, ${process.listenerCount("SIGINT")} listeners`));
