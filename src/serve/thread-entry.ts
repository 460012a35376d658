/** A thread of `serveThreads`: a server of its own over its copy of the listener. */
import { parentPort, workerData } from "node:worker_threads";
import { monotonic } from "../../ffi/clock.ts";
import { CancelSource } from "../cancel/source.ts";
import { TcpListener } from "../socket/tcp-listener.ts";
import { UnixListener } from "../socket/unix-listener.ts";
import { Counts } from "./counts.ts";
import { Server } from "./server.ts";
import { type Envelope, open, type ThreadJob, type ThreadNews, type ThreadOrder } from "./thread-job.ts";

function say(news: ThreadNews): void {
  parentPort!.postMessage({ cancelfd: news } satisfies Envelope<ThreadNews>);
}

const { module, listener, isUnix, cancel, counts, maxConnections } = workerData as ThreadJob;
const { default: handler, onError = console.error } = await import(module);
if (typeof handler !== "function") {
  throw new TypeError(`${module} has no handler: it has to \`export default\` a function (socket, context) => …`);
}
if (typeof onError !== "function") throw new TypeError(`onError of ${module} is a function, not ${typeof onError}`);
const server = Server.start(isUnix ? UnixListener.from(listener) : TcpListener.from(listener), handler, {
  maxConnections,
  onError,
  parent: CancelSource.from(cancel),
  counts: new Counts(counts),
});
parentPort!.on("message", (message) => {
  const order = open<ThreadOrder>(message);
  if (order === "close") server.close();
  else if (order !== undefined) void server.shutdown({ grace: order.until - monotonic(), settle: order.settle });
});
say("up"); // what is posted before is lost: Bun drops it while a module is still being loaded
await server.finished;
say("done");
process.exit(); // whatever else the handlers' module has begun
