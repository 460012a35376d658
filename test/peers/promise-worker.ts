/** A Worker with promise operations pending. Says "up"; calls `process.exit(0)` when it is told to. */
import { parentPort, workerData } from "node:worker_threads";
import { CancelSource, connectSync, listen } from "../../src/index.ts";

const into = new Uint8Array(64);
const socket = connectSync(workerData as { hostname: string; port: number });
const listener = listen({ hostname: "127.0.0.1" });
const source = new CancelSource();
void source.handle;
void source.signal;
void socket.read(into);
void socket.read(into, { cancel: source, timeout: 60_000 });
void listener.accept();
parentPort!.on("message", () => process.exit(0));
parentPort!.postMessage("up");
