/**
 * end-blocked-thread.ts OPERATION HOW: a Worker is blocked in read, write, accept or connect; then this process calls
 * `terminate` on it (and ends by itself), or `process.exit(7)`, or unrefs it (and ends by itself).
 */
import { CancelSource, connectSync, listen, releaseOnExit } from "../../src/index.ts";
import { Thread } from "../thread.ts";

const [operation, how] = process.argv.slice(2) as [string, "terminate" | "exit" | "unref"];
const listener = listen({ hostname: "127.0.0.1", backlog: operation === "connect" ? 0 : 511 });
const { port } = listener.address;
const first = operation === "connect" ? connectSync({ hostname: "127.0.0.1", port }) : null; // fills the backlog
const source = new CancelSource();
const thread = await Thread.start("blocked", operation, { cancel: source.handle, port, listener: listener.handle });
releaseOnExit(thread.worker);
const peer = operation === "read" || operation === "write" ? listener.acceptSync({ timeout: 20_000 }) : null;
await thread.blocked();
const before = performance.now();
console.log("blocked");
if (how === "exit") process.exit(7);
if (how === "unref") {
  thread.worker.unref();
} else {
  await thread.terminate();
  console.log(`terminated after ${Math.round(performance.now() - before)} ms`);
}
source.dispose();
for (const socket of [first, peer, listener]) socket?.close();
