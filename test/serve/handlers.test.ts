import { expect, spyOn, test } from "bun:test";
import {
  CancelledError,
  CancelSource,
  type Handler,
  listen,
  type ServeOptions,
  type Server,
  serve,
  type TcpListener,
  TcpSocket,
} from "../../src/index.ts";
import { keeper } from "../setup.ts";
import { until } from "../thread.ts";
import { dial, gate, hear, readText, rejection } from "./clients.ts";

const keep = keeper();

interface Served {
  listener: TcpListener;
  server: Server;
  errors: unknown[];
}

function start(handler: Handler<TcpSocket>, options: ServeOptions<TcpSocket> = {}): Served {
  const errors: unknown[] = [];
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const server = keep(serve(listener, handler, { onError: (error) => errors.push(error), ...options }));
  return { listener, server, errors };
}

/** One client that says something that the server does not read: what it hears, and what became of the connection. */
async function serveOne(handler: Handler<TcpSocket>): Promise<Served & { heard: { text: string; end: string } }> {
  const served = start(handler);
  const client = await dial(served.listener);
  // A reset may be faster, and is told once: to the write, or to the read after it.
  const refused = await client.write("unread").then(
    () => null,
    (error: { code: string }) => ({ text: "", end: error.code }),
  );
  const heard = refused ?? (await hear(client));
  client.close();
  await until("the connection to be over", () => served.server.active === 0);
  return { ...served, heard };
}

const ways: Record<string, { handler: Handler<TcpSocket>; text: string; end: string; failed: boolean }> = {
  "it is fulfilled": {
    handler: async (socket) => void (await socket.write("all of it")),
    text: "all of it",
    end: "end",
    failed: false,
  },
  "it is no promise": {
    handler: (socket) => socket.tryWrite(Buffer.from("here")),
    text: "here",
    end: "end",
    failed: false,
  },
  "it ends with a write that nobody awaits": {
    handler: (socket) => void socket.write("a".repeat(3_000_000)),
    text: "a".repeat(3_000_000),
    end: "end",
    failed: false,
  },
  "its own deadline has passed": {
    handler: async (socket) => {
      socket.setReadDeadline(0);
      await socket.write("too late");
    },
    text: "too late",
    end: "end",
    failed: false,
  },
  "it has closed its socket gracefully": {
    handler: async (socket) => {
      await socket.write("bye");
      await socket.closeGracefully();
    },
    text: "bye",
    end: "end",
    failed: false,
  },
  "it has detached its socket": {
    handler: (socket) => {
      void TcpSocket.from(socket.detach()).closeGracefully();
    },
    text: "",
    end: "end",
    failed: false,
  },
  "it throws": {
    handler: () => {
      throw new Error("at once");
    },
    text: "",
    end: "ECONNRESET",
    failed: true,
  },
  "it is rejected": {
    handler: async () => {
      await Bun.sleep(1);
      throw new Error("later");
    },
    text: "",
    end: "ECONNRESET",
    failed: true,
  },
  "it is rejected with the CancelledError of something else": {
    handler: async (socket) => {
      using other = new CancelSource();
      other.cancel("not the server");
      await socket.read(new Uint8Array(1), { cancel: other });
    },
    text: "",
    end: "ECONNRESET",
    failed: true,
  },
  "it is rejected with a timeout": {
    handler: async (socket) => void (await socket.read(new Uint8Array(1), { timeout: 0 })),
    text: "",
    end: "ECONNRESET",
    failed: true,
  },
  "it has closed its socket and is rejected": {
    handler: async (socket) => {
      socket.resetAndDestroy();
      throw new Error("afterwards");
    },
    text: "",
    end: "ECONNRESET",
    failed: true,
  },
};

for (const [way, { handler, text, end, failed }] of Object.entries(ways)) {
  test(`a handler: ${way}; the peer sees ${end === "end" ? "the end" : "a reset"}, and onError ${failed ? "the error" : "nothing"}`, async () => {
    const { heard, errors, server } = await serveOne(handler);
    expect(heard.end).toBe(end);
    expect(heard.text === text).toBe(true); // not a diff of megabytes
    await until("onError to be called", () => errors.length === (failed ? 1 : 0));
    expect(await server.shutdown()).toEqual({ completed: 0, forced: 0 }); // counted from the call on
  });
}

for (const way of ["CancelledError", "the signal's reason"] as const) {
  test(`rejected with its own context's ${way}: closed gracefully, and no error`, async () => {
    const reading = gate();
    const { listener, server, errors } = start(async (socket, { cancel, signal }) => {
      await socket.write("ready");
      const wait = socket.read(new Uint8Array(1), way === "CancelledError" ? { cancel } : { signal });
      reading.resolve();
      await wait;
    });
    const client = await dial(listener);
    await reading.promise;
    const result = server.shutdown({ settle: 0 });
    expect(await hear(client)).toEqual({ text: "ready", end: "end" });
    expect(await result).toEqual({ completed: 1, forced: 0 });
    expect(errors).toEqual([]);
  });
}

test("both tell why, and a child of the context's token is the context's own, too", async () => {
  const told = gate<{ signal: unknown; cause: unknown; cancelled: boolean }>();
  const reading = gate();
  const { listener, server, errors } = start(async (socket, { cancel, signal }) => {
    using child = cancel.child();
    const wait = socket.read(new Uint8Array(1), { cancel: child });
    reading.resolve();
    const error = await rejection(wait);
    told.resolve({ signal: signal.reason, cause: error.cause, cancelled: cancel.cancelled });
    throw error;
  });
  const client = await dial(listener);
  await reading.promise;
  const result = server.shutdown({ settle: 0 });
  expect((await hear(client)).end).toBe("end");
  expect(await result).toEqual({ completed: 1, forced: 0 });
  const { signal, cause, cancelled } = await told.promise;
  expect(cause).toBe(signal);
  expect(signal).toBeInstanceOf(CancelledError);
  expect(signal).toMatchObject({
    name: "AbortError",
    message: "the handler was cancelled: the server is shutting down",
  });
  expect(cancelled).toBe(true);
  expect(errors).toEqual([]);
});

test("onError gets the socket, which is closed and still knows its peer", async () => {
  const got = gate<TcpSocket>();
  const { listener } = start(() => Promise.reject(new Error("no")), {
    onError: (_error, socket) => got.resolve(socket),
  });
  const client = await dial(listener);
  const { localAddress } = client;
  await hear(client);
  const socket = await got.promise;
  expect(socket.closed).toBe(true);
  expect(socket.remoteAddress).toEqual(localAddress);
});

for (const way of ["throws", "is rejected"] as const) {
  test(`an onError that ${way} is printed, and the server goes on`, async () => {
    using printed = spyOn(console, "error").mockImplementation(() => {});
    const bad = new Error("of onError");
    const { listener } = start(
      async (socket) => {
        if ((await readText(socket)) === "fail") throw new Error("of the handler");
        await socket.write("fine");
      },
      {
        onError: () => {
          if (way === "throws") throw bad;
          return Promise.reject(bad) as never;
        },
      },
    );
    const first = await dial(listener);
    await first.write("fail");
    expect((await hear(first)).end).toBe("ECONNRESET");
    await until("it to be printed", () => printed.mock.calls.length > 0);
    expect(printed.mock.calls).toEqual([[bad]]);
    const second = await dial(listener);
    await second.write("go on");
    expect(await hear(second)).toEqual({ text: "fine", end: "end" });
  });
}

test("without onError the error is printed", async () => {
  using printed = spyOn(console, "error").mockImplementation(() => {});
  const error = new Error("of the handler");
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  keep(serve(listener, () => Promise.reject(error)));
  await hear(await dial(listener));
  await until("it to be printed", () => printed.mock.calls.length > 0);
  expect(printed.mock.calls[0]![0]).toBe(error);
});

test("a connection is active until its socket is closed, however long its handler goes on", async () => {
  const closed = gate();
  const end = gate();
  const { listener, server } = start(async (socket) => {
    await readText(socket);
    socket.close();
    closed.resolve();
    await end.promise;
  });
  const client = keep(await dial(listener));
  await until("it to be active", () => server.active === 1);
  await client.write("close");
  await closed.promise;
  expect(server.active).toBe(0);
  expect(await server.shutdown({ settle: 0 })).toEqual({ completed: 0, forced: 0 });
  end.resolve();
});

test("a connection whose peer keeps its side open stays active after its handler", async () => {
  const { listener, server } = start((socket) => void socket.tryWrite(Buffer.from("bye")));
  const client = keep(await dial(listener));
  expect(await readText(client)).toBe("bye");
  expect(await readText(client)).toBe(""); // the server's side is closed
  expect(server.active).toBe(1);
  client.close();
  await until("it to be over", () => server.active === 0);
});
