import { expect, test } from "bun:test";
import { monotonic } from "../../ffi/index.ts";
import {
  ClosedError,
  connect,
  type HandlerContext,
  listen,
  Server,
  type ShutdownOptions,
  serve,
  TcpListener,
  type TcpSocket,
} from "../../src/index.ts";
import { changes, NONE } from "../leaks.ts";
import { keeper } from "../setup.ts";
import { fdTable, thrown, until } from "../thread.ts";
import { dial, gate, hear, hostname, LIMIT, readText, rejection } from "./clients.ts";

const keep = keeper();

/** Answers a request after another, and waits for the next one until the server is told to stop. */
async function answer(socket: TcpSocket, { cancel }: HandlerContext): Promise<void> {
  for (let request = await readText(socket); request !== ""; request = await readText(socket, { cancel })) {
    if (request === "slow") await slow.promise;
    await socket.write(`re: ${request}`);
  }
}
let slow = gate();

test("idle connections end at once, busy ones after their answers, and those in the queue are served", async () => {
  slow = gate();
  const listener = keep(listen({ hostname }));
  const server = keep(serve(listener, answer));
  const idle = await Promise.all(Array.from({ length: 5 }, () => dial(listener)));
  for (const client of idle) {
    await client.write("one");
    expect(await readText(client)).toBe("re: one");
  }
  const busy = await Promise.all(Array.from({ length: 3 }, () => dial(listener)));
  for (const client of busy) await client.write("slow");
  await until("all to be served", () => server.active === 8);
  const queued = await Promise.all(Array.from({ length: 4 }, () => dial(listener)));

  let over = false;
  const result = server.shutdown({ grace: null }).finally(() => {
    over = true;
  });
  for (const client of idle) expect(await hear(client)).toEqual({ text: "", end: "end" });
  for (const client of queued) {
    await client.write("first");
    expect(await hear(client)).toEqual({ text: "re: first", end: "end" });
  }
  await until("the idle ones to be gone", () => server.active === 3);
  expect(over).toBe(false);
  slow.resolve();
  for (const client of busy) expect(await hear(client)).toEqual({ text: "re: slow", end: "end" });
  expect(await result).toEqual({ completed: 12, forced: 0 });
  await server.finished;
  expect(server.active).toBe(0);
  expect(listener.closed).toBe(true);
  expect((await rejection(dial(listener.address.port))).code).toBe("ECONNREFUSED");
});

test("what is active when the grace has passed is reset, not before, and counted as forced", async () => {
  const listener = keep(listen({ hostname }));
  const errors: unknown[] = [];
  const ended = gate<unknown>();
  const server = keep(
    serve(
      listener,
      async (socket) => {
        if ((await readText(socket)) === "stay") await socket.read(new Uint8Array(1)).catch(ended.resolve);
      },
      { onError: (error) => errors.push(error) },
    ),
  );
  const [stays, goes] = [await dial(listener), await dial(listener)];
  await stays.write("stay");
  await until("both to be served", () => server.active === 2);
  const begin = monotonic();
  const result = server.shutdown({ grace: 300 });
  await goes.write("go");
  expect((await hear(goes)).end).toBe("end");
  expect((await hear(stays)).end).toBe("ECONNRESET");
  expect(monotonic() - begin).toBeGreaterThanOrEqual(300);
  expect(await result).toEqual({ completed: 1, forced: 1 });
  expect(await ended.promise).toBeInstanceOf(ClosedError);
  expect(errors).toEqual([]);
});

test("an operation that the force has ended is no error of the handler; what else it fails with is", async () => {
  const listener = keep(listen({ hostname }));
  const errors: unknown[] = [];
  const handlers = [
    (socket: TcpSocket) => socket.read(new Uint8Array(1)),
    (socket: TcpSocket) =>
      socket.read(new Uint8Array(1)).catch(() => {
        throw new Error("of its own");
      }),
  ];
  const server = keep(
    serve(listener, (socket) => handlers.shift()!(socket), {
      onError: (error) => errors.push((error as Error).message),
    }),
  );
  const clients = [await dial(listener), await dial(listener)];
  await until("both to be served", () => server.active === 2);
  await server.shutdown({ grace: 0 });
  for (const client of clients) expect((await hear(client)).end).toBe("ECONNRESET");
  await until("the error to be told", () => errors.length > 0);
  expect(errors).toEqual(["of its own"]);
});

for (const grace of [0, -1, new Date(0)]) {
  test(`a grace of ${grace instanceof Date ? "a past Date" : grace} ends everything at once, a handler that never ends included`, async () => {
    const listener = keep(listen({ hostname }));
    const server = keep(serve(listener, () => new Promise(() => {})));
    const client = await dial(listener);
    await until("it to be served", () => server.active === 1);
    const result = server.shutdown({ grace });
    expect(listener.closed).toBe(true);
    expect(await result).toEqual({ completed: 0, forced: 1 });
    expect((await hear(client)).end).toBe("ECONNRESET");
  });
}

test("a handler that is done when the time is over has completed: its peer gets all of it", async () => {
  const listener = keep(listen({ hostname }));
  const server = keep(serve(listener, (socket) => void socket.tryWrite(Buffer.from("all of it"))));
  const client = await dial(listener);
  expect(await readText(client)).toBe("all of it"); // and it keeps its side open
  expect(await server.shutdown({ grace: 50, settle: 0 })).toEqual({ completed: 1, forced: 0 });
  expect((await hear(client)).end).toBe("end");
});

test("failed handlers are neither completed nor forced, also those that have closed their sockets before", async () => {
  const listener = keep(listen({ hostname }));
  const errors: unknown[] = [];
  const server = keep(
    serve(
      listener,
      async (socket) => {
        using mine = socket;
        if ((await readText(mine)) === "fail") throw new Error("no");
      },
      { onError: (error) => errors.push(error) },
    ),
  );
  const clients = await Promise.all([1, 2, 3].map(() => dial(listener)));
  await until("all to be served", () => server.active === 3);
  const result = server.shutdown();
  for (const [i, client] of clients.entries()) await client.write(i < 2 ? "fail" : "go");
  expect(await result).toEqual({ completed: 1, forced: 0 });
  expect(errors.length).toBe(2);
  for (const client of clients) client.close();
});

test("each of several shutdowns counts from its call on, and the earliest end of grace holds", async () => {
  const listener = keep(listen({ hostname }));
  const server = keep(serve(listener, async (socket) => void (await readText(socket))));
  const [first, second] = [await dial(listener), await dial(listener)];
  await until("both to be served", () => server.active === 2);
  const whole = server.shutdown({ grace: null });
  first.close();
  await until("the first to be gone", () => server.active === 1);
  await new Promise((resolve) => setImmediate(resolve));
  const rest = server.shutdown({ grace: 20 });
  expect(await rest).toEqual({ completed: 0, forced: 1 });
  expect(await whole).toEqual({ completed: 1, forced: 1 });
  expect(await server.shutdown()).toEqual({ completed: 0, forced: 0 });
  second.close();
});

test("nothing is left of a thousand connections, however they ended", async () => {
  const round = async (connections: number) => {
    const listener = listen({ hostname });
    const server = serve(
      listener,
      async (socket, { cancel, signal }) => {
        const request = await readText(socket, { cancel });
        if (request === "fail") throw new Error("no");
        await socket.write(`${request} ${signal.aborted}`);
      },
      { maxConnections: 64, onError: () => {} },
    );
    const batch = 50;
    for (let i = 0; i < connections; i += batch) {
      const clients = await Promise.all(Array.from({ length: batch }, () => dial(listener)));
      await Promise.all(clients.map((client, j) => client.write(j % 10 === 0 ? "fail" : "ok")));
      const heard = await Promise.all(clients.map(hear));
      expect(heard.filter(({ text }) => text === "ok false").length).toBe(batch * 0.9);
    }
    await server.shutdown({ settle: 0 });
  };
  await round(50); // what is opened once and for all
  const before = fdTable();
  await round(1000);
  expect(changes(before)).toEqual(NONE);
});

test("a handler that closes its socket before the shutdown and fails during it changes no count", async () => {
  const listener = keep(listen({ hostname }));
  const fails = gate();
  const told = gate<unknown>();
  const server = keep(
    serve(
      listener,
      async (socket) => {
        if ((await readText(socket)) !== "close") return;
        socket.close();
        await fails.promise;
        throw new Error("late");
      },
      { onError: told.resolve },
    ),
  );
  const [first, second] = [keep(await dial(listener)), keep(await dial(listener))];
  await first.write("close");
  expect((await hear(first)).end).toBe("end");
  await until("the other one to be served", () => server.active === 1);
  const result = server.shutdown();
  fails.resolve();
  expect(await told.promise).toEqual(new Error("late"));
  await second.write("go");
  await hear(second);
  expect(await result).toEqual({ completed: 1, forced: 0 });
});

test("a listener has one server; a copy of it may have another", async () => {
  const listener = keep(listen({ hostname }));
  const { port } = listener.address;
  const server = keep(serve(listener, async (socket) => void (await socket.write("first"))));
  expect(thrown(() => serve(listener, () => {})).message).toContain("has a server already");
  keep(serve(TcpListener.from(listener.handle), async (socket) => void (await socket.write("second"))));
  expect((await hear(await dial(port))).text).toBeOneOf(["first", "second"]);
  server.close();
  expect((await hear(await dial(port))).text).toBe("second");
});

test("wrong arguments are a TypeError or a RangeError, and change nothing", async () => {
  const listener = keep(listen({ hostname }));
  const call = serve as (...parameters: unknown[]) => Server;
  expect(thrown(() => call({}, () => {})).message).toContain("listener of this library");
  expect(thrown(() => call(listener)).message).toContain("handler");
  expect(thrown(() => call(listener, () => {}, { maxConnection: 1 })).message).toContain(
    'did you mean "maxConnections"',
  );
  expect(thrown(() => call(listener, () => {}, { error() {} })).message).toContain('did you mean "onError"');
  expect(thrown(() => call(listener, () => {}, { onError: "log" }))).toBeInstanceOf(TypeError);
  expect(thrown(() => call(listener, () => {}, null))).toBeInstanceOf(TypeError);
  expect(thrown(() => new (Server as unknown as new () => Server)()).message).toContain("use serve");

  const server = keep(serve(listener, async (socket) => void (await socket.write("fine"))));
  const shutdown = (options: unknown) => rejection(server.shutdown(options as ShutdownOptions));
  expect((await shutdown({ timeout: 5 })).message).toContain('did you mean "grace"');
  expect(await shutdown({ grace: "soon" })).toBeInstanceOf(TypeError);
  expect(await shutdown({ grace: Number.NaN })).toBeInstanceOf(RangeError);
  expect(await shutdown({ settle: -1 })).toBeInstanceOf(RangeError);
  expect(await shutdown({ settle: "1" })).toBeInstanceOf(TypeError);
  expect(thrown(() => server.shutdownOn("SIGNONE" as "SIGINT")).message).toContain("SIGNONE");
  const client = await connect({ hostname, port: listener.address.port, timeout: LIMIT });
  expect(await hear(client)).toEqual({ text: "fine", end: "end" });

  listener.close();
  expect(thrown(() => serve(listener, () => {}))).toBeInstanceOf(ClosedError);
});
