/** `serveThreads`: threads over one listener, and what happens when one of them crashes. */
import { afterAll, expect, spyOn, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { monotonic } from "../../ffi/index.ts";
import { connect, listen, serveThreads, TcpListener, type TcpSocket, ThreadedServer } from "../../src/index.ts";
import { NONE } from "../leaks.ts";
import { changesAtRest, restingTable } from "../promise/settled.ts";
import { keeper, temporaryDirectory } from "../setup.ts";
import { thrown, until } from "../thread.ts";
import { Program, peer } from "../tool.ts";
import { dial, gate, hear, hostname, LIMIT, rejection } from "./clients.ts";
import { client, clientsInEachThread, commandServer, handlers, line, order } from "./threads.ts";

const keep = keeper();

for (const threads of [1, 2, 4, 8]) {
  test(`${threads} threads: each serves, and they know what they have done`, async () => {
    const before = await restingTable();
    const { server, port, crashes } = commandServer(keep, threads);
    expect(server.threads).toHaveLength(threads);
    const sockets = await clientsInEachThread(keep, server, port);
    for (const socket of sockets.values()) {
      await order(socket, "something");
      expect(await line(socket)).toBe("did something");
    }
    expect(server.threads.map(({ active }) => active)).toEqual(Array(threads).fill(1));
    const served = server.threads.reduce((sum, thread) => sum + thread.served, 0);
    for (const socket of sockets.values()) socket.close();
    await until("all to be gone", () => server.active === 0);
    expect(server.threads.reduce((sum, thread) => sum + thread.served, 0)).toBe(served + threads);
    expect(await server.shutdown()).toEqual({ completed: 0, forced: 0 });
    await server.finished;
    expect(crashes).toEqual([]);
    expect(await changesAtRest(before)).toEqual(NONE);
  });
}

test("as many threads as there are cores, unless told otherwise", async () => {
  const { server } = commandServer(keep, 1, { threads: undefined });
  expect(server.threads).toHaveLength(availableParallelism());
  expect(server).toBeInstanceOf(ThreadedServer);
});

test("over a Unix socket", async () => {
  const path = join(keep(temporaryDirectory()).path, "socket");
  const { server } = commandServer(keep, 2, { listen: { path } });
  expect(server.address).toEqual({ path });
  const socket = keep(await connect({ path, timeout: LIMIT }));
  expect(server.threads.map(({ id }) => id)).toContain(Number(await line(socket)));
  await order(socket, "something");
  expect(await line(socket)).toBe("did something");
  const result = server.shutdown();
  expect(await hear(socket)).toEqual({ text: "", end: "end" });
  expect(await result).toEqual({ completed: 1, forced: 0 });
  expect((await rejection(connect({ path }))).code).toBe("ENOENT");
});

const crashes: [command: string, error: object][] = [
  ["throw", { message: "thrown where nobody catches it" }],
  ["reject", { name: "TypeError", message: "rejected where nobody looks" }],
  ["exit", { message: "a thread ended by itself, with status 3" }],
];
for (const [command, error] of crashes) {
  test(`a thread that crashes (${command}) is replaced and reported, its clients see an end, the others serve on`, async () => {
    const { server, port, crashes } = commandServer(keep, 3);
    const sockets = await clientsInEachThread(keep, server, port);
    const [[crashed, victim], ...others] = [...sockets] as [[number, TcpSocket], ...[number, TcpSocket][]];
    await order(victim, command);
    expect((await hear(victim)).text).toBeOneOf(["", `did ${command}\n`]);
    await until("it to be replaced", () => server.threads.some(({ restarts }) => restarts === 1));
    expect(crashes).toMatchObject([{ error, id: crashed }]);
    for (const [, socket] of others) {
      await order(socket, "something");
      expect(await line(socket)).toBe("did something");
      socket.close();
    }
    expect(server.threads.map(({ id }) => id)).not.toContain(crashed);
    await clientsInEachThread(keep, server, port); // the new one too
    expect(server.threads.map(({ restarts }) => restarts).sort()).toEqual([0, 0, 1]);
  });
}

test("one that crashes again and again is replaced each time, later and later; clients wait in the queue meanwhile", async () => {
  const { server, port, crashes } = commandServer(keep, 1);
  let pause = 50;
  for (const command of ["throw", "exit", "reject", "exit"]) {
    const { socket } = await client(keep, port);
    await order(socket, command);
    await hear(socket);
    const begin = monotonic();
    const next = await client(keep, port);
    expect(monotonic() - begin).toBeGreaterThan(pause / 2); // the thread may have been dead for a while when its client heard
    next.socket.close();
    pause *= 2;
  }
  const { socket, thread } = await client(keep, port);
  await until("those before it to be gone", () => server.active === 1);
  expect(server.threads).toMatchObject([{ id: thread, served: 8, restarts: 4 }]);
  await order(socket, "something");
  expect(await line(socket)).toBe("did something");
  expect(crashes.map(({ error }) => (error as Error).message)).toEqual([
    "thrown where nobody catches it",
    "a thread ended by itself, with status 3",
    "rejected where nobody looks",
    "a thread ended by itself, with status 3",
  ]);
});

test("where no descriptor is left for another thread, it is tried again until there is", async () => {
  const script = [process.execPath, peer("serve-threads-short-of-descriptors.ts")];
  const child = keep(Program.start(["sh", "-c", 'ulimit -n 80; exec "$@"', "sh", ...script]));
  const port = Number(await child.line());
  const { socket } = await client(keep, port);
  await order(socket, "exit");
  await hear(socket);
  expect(await child.line()).toBe("crashed");
  expect(await child.line()).toBe("short");
  expect(await child.line()).toBe("three restarts failed");
  const { socket: next } = await client(keep, port); // it waited in the queue, perhaps
  next.close();
  child.kill("SIGTERM");
  expect(await child.exited()).toBe(0);
});

for (const [how, onCrash] of [
  [
    "throws",
    () => {
      throw new Error("of onCrash itself");
    },
  ],
  ["is rejected", () => Promise.reject(new Error("of onCrash itself"))],
] as const) {
  test(`an onCrash that ${how} is printed, and ends nothing`, async () => {
    const printed = spyOn(console, "error").mockImplementation(() => {});
    keep({ [Symbol.dispose]: () => printed.mockRestore() });
    const { server, port } = commandServer(keep, 1, { onCrash });
    const { socket } = await client(keep, port);
    await order(socket, "exit");
    await hear(socket);
    await client(keep, port);
    expect(server.threads).toMatchObject([{ restarts: 1 }]);
    expect(printed.mock.calls).toEqual([[new Error("of onCrash itself")]]);
  });
}

test("what a handler fails with goes to the module's onError, and is no crash", async () => {
  const told = gate<unknown>();
  const channel = new BroadcastChannel("errors of commands.ts");
  keep({ [Symbol.dispose]: () => channel.close() });
  channel.onmessage = ({ data }) => told.resolve(data);
  const { server, port, crashes } = commandServer(keep, 1);
  const { socket, thread } = await client(keep, port);
  await order(socket, "fail");
  expect((await hear(socket)).end).toBe("ECONNRESET");
  expect(await told.promise).toBe("RangeError: the handler's own");
  expect(crashes).toEqual([]);
  expect(server.threads).toMatchObject([{ id: thread, served: 1, restarts: 0 }]);
});

test("maxConnections holds in each thread", async () => {
  const { server, port } = commandServer(keep, 2, { maxConnections: 1 });
  const sockets = await clientsInEachThread(keep, server, port);
  const third = keep(await dial(port)); // in the kernel's queue
  const next = line(third);
  expect(server.active).toBe(2);
  [...sockets.values()][0]!.close();
  expect([...sockets.keys()]).toContain(Number(await next));
});

const broken = temporaryDirectory();
afterAll(() => broken[Symbol.dispose]());
writeFileSync(join(broken.path, "broken.ts"), "export default (");
const unfit: [what: string, module: URL, message: RegExp][] = [
  ["is not there", handlers("not-there"), /not-there/],
  ["is no program", pathToFileURL(join(broken.path, "broken.ts")), /broken\.ts/],
  ["has no handler", handlers("nothing"), /export default/],
];
for (const [what, module, message] of unfit) {
  test(`a module that ${what}: the server ends, and says why`, async () => {
    const before = await restingTable();
    const crashes: unknown[] = [];
    const server = serveThreads(module, {
      listen: { hostname },
      threads: 3,
      onCrash: (error) => crashes.push(error),
    });
    expect((await rejection(server.finished)).message).toMatch(message);
    expect(await server.shutdown()).toEqual({ completed: 0, forced: 0 });
    expect(crashes).toEqual([]);
    expect(await changesAtRest(before)).toEqual(NONE);
    keep(listen({ hostname, port: server.address.port }));
  });
}

const wrong: [args: unknown[], error: ErrorConstructor, message: RegExp][] = [
  [["./handler.ts", { listen: {} }], TypeError, /new URL/],
  [[handlers("commands")], TypeError, /serveThreads/],
  [[handlers("commands"), {}], TypeError, /listens itself/],
  [[handlers("commands"), { listen: 8080 }], TypeError, /listens itself/],
  [[handlers("commands"), { listen: Object.create(TcpListener.prototype) }], TypeError, /listens itself/],
  [[handlers("commands"), { listen: {}, onError: () => {} }], TypeError, /export it/],
  [[handlers("commands"), { listen: { host: "::" } }], TypeError, /hostname/],
  [[handlers("commands"), { listen: {}, thread: 2 }], TypeError, /threads/],
  [[handlers("commands"), { listen: {}, threads: 0 }], RangeError, /threads/],
  [[handlers("commands"), { listen: {}, threads: 1.5 }], RangeError, /threads/],
  [[handlers("commands"), { listen: {}, threads: "2" }], TypeError, /threads/],
  [[handlers("commands"), { listen: {}, maxConnections: 0 }], RangeError, /maxConnections/],
  [[handlers("commands"), { listen: {}, onCrash: 1 }], TypeError, /onCrash/],
];
test("wrong arguments are told before anything is opened", async () => {
  const before = await restingTable();
  for (const [args, error, message] of wrong) {
    const found = thrown(() => serveThreads(...(args as Parameters<typeof serveThreads>)));
    expect(found).toBeInstanceOf(error);
    expect(found.message).toMatch(message);
  }
  const busy = keep(listen({ hostname }));
  const { port } = busy.address;
  expect(thrown(() => serveThreads(handlers("commands"), { listen: { hostname, port } })).code).toBe("EADDRINUSE");
  busy.close();
  expect(await changesAtRest(before)).toEqual(NONE);
});
