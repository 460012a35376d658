/** promise-idle.ts SCENARIO: how much CPU a process uses that waits for much, and to which nothing happens. */
import { Worker } from "node:worker_threads";
import { CancelSource, connectSync, listen, type TcpListener, type TcpSocket } from "../../src/index.ts";

const CONNECTIONS = 1000;
/** Milliseconds. */
const WINDOW = 2000;
const listener = listen({ hostname: "127.0.0.1", backlog: 4096 });
const buffer = () => new Uint8Array(64);

interface Pair {
  client: TcpSocket;
  server: TcpSocket;
}

function connections(count: number, on: TcpListener = listener): Pair[] {
  return Array.from({ length: count }, () => ({
    client: connectSync({ hostname: "127.0.0.1", port: on.address.port }),
    server: on.acceptSync({ timeout: 20_000 }),
  }));
}

async function rejected(promise: Promise<unknown>): Promise<void> {
  if (
    await promise.then(
      () => true,
      () => false,
    )
  )
    throw new Error("expected it to fail");
}

/** Another thread that cancels `source`, and has by the time that this resolves. */
async function cancelElsewhere(source: CancelSource): Promise<void> {
  const worker = new Worker(new URL("./promise-canceller.ts", import.meta.url), { workerData: source.handle });
  await new Promise((resolve) => worker.once("exit", resolve));
}

/** Each leaves something pending and nothing to do; what it returns is kept. */
const scenarios: Record<string, () => Promise<unknown>> = {
  "1,000 connections, some with reads": async () => {
    const all = connections(CONNECTIONS);
    const reads = all.filter((_, i) => i % 3 === 0).map(({ server }) => server.read(buffer()));
    return [all, reads, listener.accept()];
  },
  "reads with deadlines far away": async () => {
    const all = connections(100);
    return [all, all.map(({ server }, i) => server.read(buffer(), { timeout: 3_600_000 + i }))];
  },
  "a source that stays cancelled": async () => {
    const source = new CancelSource();
    const all = connections(10);
    const reads = all.map(({ server }) => rejected(server.read(buffer(), { cancel: source })));
    await cancelElsewhere(source);
    await Promise.all(reads);
    for (const { server } of all) await rejected(server.read(buffer(), { cancel: source }));
    return [all, source, source.child(), all.map(({ server }) => server.read(buffer()))];
  },
  "a source that was cancelled, and armed again": async () => {
    const source = new CancelSource();
    const all = connections(10);
    const reads = all.map(({ server }) => rejected(server.read(buffer(), { cancel: source })));
    await cancelElsewhere(source);
    await Promise.all(reads);
    source.reset();
    return [all, source.signal, all.map(({ server }) => server.read(buffer(), { cancel: source }))];
  },
  "peers that hung up and are not read": async () => {
    const all = connections(30);
    const [first] = connections(1);
    for (const [i, { client, server }] of all.entries()) {
      const read = rejected(server.read(buffer(), { timeout: 1 })); // registered, and nobody waits any more
      await read;
      if (i % 3 === 0) client.close();
      else if (i % 3 === 1) client.resetAndDestroy();
      else client.closeWrite();
    }
    return [all, first, first!.server.read(buffer())];
  },
  "data that nobody reads": async () => {
    const all = connections(30);
    for (const { client, server } of all) {
      await rejected(server.read(buffer(), { timeout: 1 }));
      client.writeSync("unread");
    }
    const [one] = connections(1);
    return [all, one, one!.server.read(buffer())];
  },
  "sockets that connected and wait for nothing": async () => {
    const { connect } = await import("../../src/index.ts");
    const { port } = listener.address;
    const all = await Promise.all(
      Array.from({ length: 30 }, () => Promise.all([connect({ hostname: "127.0.0.1", port }), listener.accept()])),
    );
    return [all, listener.accept()];
  },
  "sockets that can be written": async () => {
    const all = connections(30);
    for (const { client } of all) {
      // One that had to wait for room, and got it.
      const write = client.write(new Uint8Array(16 << 20));
      void write;
    }
    const sink = new Uint8Array(1 << 20);
    for (const { client, server } of all) {
      for (let left = 16 << 20; left > 0; ) left -= await server.read(sink);
      void client;
    }
    return [all, all.map(({ server }) => server.read(buffer()))];
  },
  "after a burst of traffic": async () => {
    const all = connections(200);
    await Promise.all(
      all.map(async ({ client, server }) => {
        const [a, b] = [buffer(), buffer()];
        for (let i = 0; i < 200; i++) {
          const read = server.read(a);
          await client.write(b);
          await read;
        }
      }),
    );
    return [all, all.map(({ server }) => server.read(buffer()))];
  },
  "a signal, and nothing else": async () => {
    const source = new CancelSource();
    void source.handle;
    return [source.signal, setInterval(() => {}, 100_000)];
  },
};

const kept = await scenarios[process.argv[2]!]!();
const usages: number[] = [];
// Bun's own threads (the compiler, the collector) may still be busy with what was done: three windows at most.
do {
  await Bun.sleep(200);
  const [begin, cpu] = [performance.now(), process.cpuUsage()];
  await Bun.sleep(WINDOW);
  const { user, system } = process.cpuUsage(cpu);
  usages.push((user + system) / 1000 / (performance.now() - begin));
} while (usages.at(-1)! > 0.05 && usages.length < 3);
console.log(JSON.stringify({ usage: Math.min(...usages), usages, kept: Array.isArray(kept) }));
process.exit(0);
