/** promise-loop.ts: promise operations that have to be woken; then which threads and descriptors that took. */
import { readdirSync, readFileSync } from "node:fs";
import { CancelSource, connect, listen } from "../../src/index.ts";
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

let workers = 0;
for (const task of readdirSync("/proc/self/task")) {
  if (readFileSync(`/proc/self/task/${task}/comm`, "latin1").trim() === "cancelfd loop") workers++;
}
const outcomes = [await cancelled, await late];
const kinds = Object.values(fdTable()).map((what) => what.replace(/:\[?\d+\]?$/, ""));
console.log(JSON.stringify({ outcomes, workers, descriptors: kinds.sort() }));
for (const socket of [client, server, listener]) socket.close();
