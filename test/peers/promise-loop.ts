/** promise-loop.ts: promise operations that have to be woken; then which threads and descriptors that took. */
import { CancelSource, connect, listen } from "../../src/index.ts";
import { threads } from "../leaks.ts";
import { fdTable } from "../thread.ts";

const listener = listen({ hostname: "127.0.0.1" });
const accepted = listener.accept();
await Bun.sleep(20);
const client = await connect({ hostname: "127.0.0.1", port: listener.address.port });
const server = await accepted;
const into = new Uint8Array(64);
for (let i = 0; i < 20; i++) {
  const read = server.read(into, { timeout: 20_000 });
  await Bun.sleep(2);
  await client.write(`${i}`);
  await read;
}
const source = new CancelSource();
const cancelled = server.read(into, { cancel: source }).catch((error: Error) => error.name);
setTimeout(() => source.cancel(), 5);
const late = server.read(into, { timeout: 5 }).catch((error: Error) => error.name);

// A thread that a helper has just made (for its collector, say) has its name until it takes its own.
let workers = threads("cancelfd loop");
for (const end = Date.now() + 2000; workers > 1 && Date.now() < end; workers = threads("cancelfd loop"))
  await Bun.sleep(5);
const outcomes = [await cancelled, await late];
const kinds = Object.values(fdTable()).map((what) => what.replace(/:\[?\d+\]?$/, ""));
console.log(JSON.stringify({ outcomes, workers, descriptors: kinds.sort() }));
for (const socket of [client, server, listener]) socket.close();
