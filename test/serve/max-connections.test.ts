import { expect, test } from "bun:test";
import { listen, type ServeOptions, serve, type TcpSocket } from "../../src/index.ts";
import { keeper } from "../setup.ts";
import { thrown, until } from "../thread.ts";
import { dial, gate, hear, hostname, readText } from "./clients.ts";

const keep = keeper();

test("clients beyond maxConnections wait in the kernel, none is dropped, and never are more served", async () => {
  const listener = keep(listen({ hostname }));
  let most = 0;
  const server = serve(
    listener,
    async (socket) => {
      most = Math.max(most, server.active);
      await socket.write(`echo ${await readText(socket)}`);
    },
    { maxConnections: 3 },
  );
  keep(server);
  const clients = await Promise.all(Array.from({ length: 40 }, () => dial(listener))); // all are connected: the kernel's work
  await Promise.all(clients.map((client, i) => client.write(`${i}`)));
  const heard = await Promise.all(clients.map(hear));
  expect(heard).toEqual(clients.map((_, i) => ({ text: `echo ${i}`, end: "end" })));
  expect(most).toBe(3);
});

test("while it is full, nothing is accepted; a socket that is closed makes room, though its handler goes on", async () => {
  const listener = keep(listen({ hostname }));
  const end = gate();
  const sockets: TcpSocket[] = [];
  const server = keep(
    serve(
      listener,
      async (socket) => {
        sockets.push(socket);
        await end.promise;
      },
      { maxConnections: 2 },
    ),
  );
  const clients = await Promise.all([1, 2, 3].map(() => dial(listener)));
  await until("it to be full", () => server.active === 2);
  // The third is in the queue still: this thread can take it from there.
  const third = listener.tryAccept();
  expect(third).not.toBeNull();
  third!.close();
  expect(sockets.length).toBe(2);

  const fourth = keep(await dial(listener));
  sockets[0]!.close();
  await until("the next to be served", () => sockets.length === 3);
  expect(sockets[2]!.remoteAddress).toEqual(fourth.localAddress);
  expect(server.active).toBe(2);
  end.resolve();
  for (const client of clients) client.close();
});

test("a shutdown while it is full serves those that wait in the queue, and loses none", async () => {
  const listener = keep(listen({ hostname }));
  const server = keep(
    serve(listener, async (socket) => void (await socket.write(`echo ${await readText(socket)}`)), {
      maxConnections: 2,
    }),
  );
  const clients = await Promise.all(Array.from({ length: 12 }, () => dial(listener)));
  const result = server.shutdown({ grace: null });
  await Promise.all(clients.map((client, i) => client.write(`${i}`)));
  const heard = await Promise.all(clients.map(hear));
  expect(heard).toEqual(clients.map((_, i) => ({ text: `echo ${i}`, end: "end" })));
  expect(await result).toEqual({ completed: 12, forced: 0 });
});

test("close while it is full", async () => {
  const listener = keep(listen({ hostname }));
  const server = keep(serve(listener, () => new Promise(() => {}), { maxConnections: 1 }));
  const clients = await Promise.all([dial(listener), dial(listener)]);
  await until("it to be full", () => server.active === 1);
  server.close();
  await server.finished;
  for (const client of clients) expect((await hear(client)).end).toBe("ECONNRESET");
});

for (const [maxConnections, error] of [
  [0, RangeError],
  [-1, RangeError],
  [1.5, RangeError],
  [Number.NaN, RangeError],
  ["3", TypeError],
  [null, TypeError],
] as const) {
  test(`maxConnections ${typeof maxConnections === "string" ? "of text" : maxConnections} is a ${error.name}`, () => {
    const listener = keep(listen({ hostname }));
    const options = { maxConnections } as ServeOptions<TcpSocket>;
    expect(thrown(() => serve(listener, () => {}, options))).toBeInstanceOf(error);
  });
}

test("an infinite one is none", async () => {
  const listener = keep(listen({ hostname }));
  keep(serve(listener, (socket) => socket.tryWrite(Buffer.from("x")), { maxConnections: Number.POSITIVE_INFINITY }));
  expect(await hear(await dial(listener))).toEqual({ text: "x", end: "end" });
});
