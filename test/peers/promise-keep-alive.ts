/**
 * promise-keep-alive.ts SCENARIO PATIENCE: does something and ends, if it can. Says "still here" after PATIENCE
 * milliseconds, from a timer that keeps nothing alive, and exits with status 3; says whatever is rejected or thrown that nobody handles.
 */
import { Worker } from "node:worker_threads";
import { CancelSource, connect, connectSync, listen, type TcpSocket } from "../../src/index.ts";

const [scenario, patience] = process.argv.slice(2) as [string, string];
const into = () => new Uint8Array(64);
const listener = listen({ hostname: "127.0.0.1" });
const address = { hostname: "127.0.0.1", port: listener.address.port };
const pair = () => ({ client: connectSync(address), server: listener.acceptSync({ timeout: 20_000 }) });
const { client, server } = pair();
const source = new CancelSource();
const kept: unknown[] = [client, server, listener, source];
const says = (what: string) => (result: unknown) =>
  console.log(`${what}: ${result instanceof Error ? result.name : result}`);

/** A Worker with operations pending. */
async function worker(): Promise<Worker> {
  const started = new Worker(new URL("./promise-worker.ts", import.meta.url), { workerData: address });
  started.on("error", says("worker failed"));
  await new Promise((resolve) => started.once("message", resolve));
  return started;
}

async function fail(operations: Promise<unknown>[]): Promise<void> {
  for (const { status } of await Promise.allSettled(operations))
    if (status === "fulfilled") throw new Error("it did not fail");
}

const scenarios: Record<string, () => unknown> = {
  nothing: () => {},
  "a read": () => void server.read(into()),
  "a read with a deadline far away": () => void server.read(into(), { timeout: 3_600_000 }),
  "a write": () => void server.write(new Uint8Array(64 << 20)),
  "an accept": () => void listener.accept(),
  "a connect": async () => {
    const full = listen({ hostname: "127.0.0.1", backlog: 0 });
    const there = { hostname: "127.0.0.1", port: full.address.port };
    kept.push(full, connectSync(there));
    void connect(there);
  },
  "a graceful close": () => void server.closeGracefully({ timeout: null }),
  "a lookup that takes its time": () =>
    void connect({ hostname: "name.invalid", port: 1, lookup: () => new Promise(() => {}) }),
  "an idle socket that connected as a promise": async () => void kept.push(await connect(address)),
  "an idle socket that has read": async () => {
    const read = server.read(into());
    client.writeSync("x");
    await read;
  },
  "a ref'ed idle socket": () => void server.ref(),
  "a ref'ed idle listener": () => void listener.ref(),
  "an unref'ed socket with a read": () => void server.unref().read(into()),
  "a socket that is unref'ed while a read is pending": async () => {
    void server.read(into());
    await Bun.sleep(20);
    server.unref();
  },
  "a socket that is ref'ed after unref": () => {
    void server.unref().read(into());
    server.ref();
  },
  "a socket that is unref'ed after ref": () => void server.ref().unref(),
  "a ref'ed socket that is closed": async () => {
    server.ref();
    await Bun.sleep(20);
    server.close();
  },
  "a ref'ed socket that is detached": () => void kept.push(server.ref().detach()),
  "a read that was cancelled": async () => {
    const read = server.read(into(), { cancel: source }).catch(says("read"));
    await Bun.sleep(20);
    source.cancel();
    await read;
  },
  "a signal": async () => {
    kept.push(source.handle);
    source.signal.addEventListener("abort", says("abort"));
    await Bun.sleep(20);
  },
  "a signal with a timeout": () => {
    const timed = CancelSource.timeout(1_000_000);
    kept.push(timed.signal, timed.handle);
  },
  "a handle": () => void kept.push(source.handle),
  "a source's handle whose deadline is far": () => void kept.push(CancelSource.timeout(3_600_000).child().handle),

  "terminate, with operations pending": async () => {
    const started = await worker();
    await Bun.sleep(20);
    await started.terminate();
    console.log("terminated");
  },
  "exit, with operations pending": () => {
    void server.read(into());
    void listener.accept();
    process.exit(7);
  },
  "exit a little later, with operations pending": async () => {
    void server.read(into());
    void listener.accept();
    await Bun.sleep(50);
    process.exit(7);
  },
  "exit, with operations pending in a Worker": async () => {
    await worker();
    await Bun.sleep(20);
    process.exit(7);
  },
  "a Worker that calls process.exit with operations pending": async () => {
    const started = await worker();
    const ended = new Promise((resolve) => started.once("exit", resolve));
    started.postMessage("go");
    says("worker ended")(await ended);
  },
  "an unref'ed Worker with operations pending": async () => (await worker()).unref(),

  "all that fails, handled": async () => {
    const controller = new AbortController();
    const operations: Promise<unknown>[] = [];
    const all = [{ cancel: source }, { signal: controller.signal }, { timeout: 5 }, { timeout: 0 }, {}];
    for (const [near, options] of all.map((one) => [pair().client, one] as const)) {
      operations.push(near.read(into(), options), near.write(new Uint8Array(64 << 20), options));
      operations.push(connect({ ...address, port: 1, ...options }));
      setTimeout(() => near.close(), 20);
    }
    for (const options of all) operations.push(listener.accept(options));
    setTimeout(() => {
      source.cancel();
      controller.abort();
      listener.close();
    }, 10);
    operations.push(
      connect({ hostname: "no.such.name.invalid", port: 1 }),
      connect({
        hostname: "x",
        port: 1,
        lookup: () => {
          throw new Error("lookup");
        },
      }),
    );
    operations.push(connect({ hostname: "x", port: 1, lookup: () => Promise.reject(new Error("lookup")) }));
    operations.push(connect({} as never), server.read("no" as never), server.write(5 as never));
    await fail(operations);
  },
  "half-closed behind a write, and closed": () => {
    const write = server.write(new Uint8Array(64 << 20));
    server.closeWrite();
    write.catch(says("write"));
    server.close();
  },
  "iterators that are left": async () => {
    const chunks = server[Symbol.asyncIterator]();
    const next = chunks.next();
    await chunks.return!();
    await next;
    const clients = listener[Symbol.asyncIterator]();
    const accepted = clients.next();
    await clients.return!();
    await accepted;
  },
  "streams that are cancelled": async () => {
    const reader = server.readable.getReader();
    const read = reader.read();
    await reader.cancel();
    await read;
    await server.writable.abort();
    const other = pair().client;
    kept.push(other.readable, other.writable);
    other.close();
  },
  "a lookup that fails after its connect was cancelled": async () => {
    const lookup = () => new Promise<never>((_, reject) => setTimeout(reject, 30, new Error("too late")));
    await fail([connect({ hostname: "x", port: 1, lookup, timeout: 5 })]);
    await Bun.sleep(50);
  },
  "a listener of a signal that throws": async () => {
    const child = source.child();
    process.on("uncaughtException", (error) => console.log(`uncaught: ${error.message}`));
    source.signal.addEventListener("abort", () => {
      throw new Error("a listener of the user's");
    });
    source.signal.addEventListener("abort", () => console.log("the other listener"));
    child.signal.addEventListener("abort", () => console.log("the child's listener"));
    const read = (server as TcpSocket).read(into(), { cancel: child }).catch(says("read"));
    source.cancel();
    await read;
    await Bun.sleep(10);
  },
};

if (scenario !== "a listener of a signal that throws") {
  process.on("uncaughtException", (error) => console.log(`uncaught: ${error}`));
}
process.on("unhandledRejection", (error) => console.log(`unhandled: ${error}`));
await scenarios[scenario]!();
setTimeout(() => {
  console.log("still here");
  process.exit(3);
}, Number(patience)).unref();
(globalThis as { kept?: unknown }).kept = kept;
