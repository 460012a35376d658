/** A thread of `serveThreads`: a server of its own over its copy of the listener. */
import { parentPort, workerData } from "node:worker_threads";
import { CancelSource } from "../cancel/source.ts";
import { TcpListener } from "../socket/tcp-listener.ts";
import { UnixListener } from "../socket/unix-listener.ts";
import { Counts } from "./counts.ts";
import { Gate } from "./gate.ts";
import { Server } from "./server.ts";
import { type ThreadJob, type ThreadNews, type ThreadOrder, unwrap, wrap } from "./thread-job.ts";

function say(news: ThreadNews): void {
  parentPort!.postMessage(wrap(news));
}

const { module, listener, isUnix, cancel, counts, maxConnections, gate } = workerData as ThreadJob;
const { default: handler, onError = console.error } = await import(module).catch((error: unknown) => {
  throw new Error(`serveThreads cannot load ${module}: ${error}`, { cause: error });
});
if (typeof handler !== "function") {
  throw new TypeError(`${module} has no handler: it has to \`export default\` a function (socket, context) => …`);
}
if (typeof onError !== "function") throw new TypeError(`onError of ${module} is a function, not ${typeof onError}`);
const copy = isUnix ? UnixListener.from(listener) : TcpListener.from(listener);
// The copy first: it is there to be taken for as long as the gate is open.
if (!new Gate(gate).pass()) await new Promise(() => {}); // about to be terminated
const server = Server.start(copy, handler, {
  maxConnections,
  onError,
  parent: CancelSource.from(cancel),
  counts: new Counts(counts),
  onDrained: () => say("drained"),
});
parentPort!.on("message", (message) => {
  const order = unwrap<ThreadOrder>(message);
  if (order === "close") server.close();
  else if (order !== undefined) void server.shutdownUntil(order.until, order.settle);
});
say("up"); // what is posted before is lost: Bun 1.4.5 drops it while a module is still being loaded (measured)
await server.finished;
say("done");
process.exit(); // whatever else the handlers' module has begun
