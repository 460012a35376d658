import { expect, test } from "bun:test";
import { join } from "node:path";
import { constants } from "../../ffi/platform/index.ts";
import { connect, listen, serve } from "../../src/index.ts";
import { failWith, faults } from "../faults.ts";
import { keeper, temporaryDirectory } from "../setup.ts";
import { until } from "../thread.ts";
import { dial, gate, hear, hostname, readText, rejection } from "./clients.ts";

const keep = keeper();
const fault = faults();

test("close resets what is active, cancels the contexts, and is idempotent", async () => {
  const listener = keep(listen({ hostname }));
  const reason = gate<unknown>();
  const server = keep(
    serve(listener, (_socket, { signal }) => {
      signal.addEventListener("abort", () => reason.resolve(signal.reason));
      return new Promise(() => {});
    }),
  );
  const client = await dial(listener);
  await until("it to be served", () => server.active === 1);
  server.close();
  expect(server.active).toBe(0);
  expect(listener.closed).toBe(true);
  server.close();
  expect(await reason.promise).toMatchObject({ message: "the handler was cancelled: the server was closed" });
  expect((await hear(client)).end).toBe("ECONNRESET");
  await server.finished;
  server.close();
});

test("the end of the listener is the end of the server, once its connections have ended; those go on", async () => {
  for (const end of ["close", "cancel"] as const) {
    const listener = keep(listen({ hostname }));
    const server = keep(serve(listener, async (socket) => void (await socket.write(await readText(socket)))));
    const client = await dial(listener);
    await until("it to be served", () => server.active === 1);
    listener[end]();
    await until("the listener to be closed", () => listener.closed);
    await client.write("still here");
    expect(await hear(client)).toEqual({ text: "still here", end: "end" });
    await server.finished;
  }
});

test("an accept that nothing can mend ends the server: finished is rejected with it, after the connections", async () => {
  const listener = keep(listen({ hostname }));
  const server = keep(serve(listener, async (socket) => void (await socket.write(await readText(socket)))));
  const client = await dial(listener);
  await until("it to be served", () => server.active === 1);
  const failed = rejection(server.finished);
  fault("accept4", () => () => failWith(constants.EINVAL));
  const waker = await dial(listener);
  await until("the listener to be closed", () => listener.closed);
  await client.write("still here");
  expect(await hear(client)).toEqual({ text: "still here", end: "end" });
  expect(await failed).toMatchObject({ name: "SystemError", code: "EINVAL", syscall: "accept" });
  expect(await server.shutdown()).toEqual({ completed: 0, forced: 0 });
  waker.close();
});

test("over a Unix socket: those in the queue are served, later ones refused, and the file goes", async () => {
  const path = join(keep(temporaryDirectory()).path, "socket");
  const listener = keep(listen({ path }));
  const server = keep(serve(listener, async (socket) => void (await socket.write(`re: ${await readText(socket)}`))));
  const clients = await Promise.all(Array.from({ length: 8 }, () => connect({ path })));
  const result = server.shutdown();
  const late = await rejection<{ code: string }>(connect({ path }));
  expect(["ECONNREFUSED", "ENOENT"]).toContain(late.code);
  for (const client of clients) await client.write("x");
  for (const client of clients) expect(await readText(client)).toBe("re: x");
  for (const client of clients) client.close();
  expect(await result).toEqual({ completed: 8, forced: 0 });
  expect(await Bun.file(path).exists()).toBe(false);
});

test("await using shuts down, using closes", async () => {
  const heard: Promise<{ end: string }>[] = [];
  {
    const listener = listen({ hostname });
    await using server = serve(listener, async (socket, { cancel }) => void (await readText(socket, { cancel })));
    heard.push(hear(await dial(listener)));
    await until("it to be served", () => server.active === 1);
  }
  {
    const listener = listen({ hostname });
    using server = serve(listener, async (socket, { cancel }) => void (await readText(socket, { cancel })));
    heard.push(hear(await dial(listener)));
    await until("it to be served", () => server.active === 1);
  }
  expect((await Promise.all(heard)).map(({ end }) => end)).toEqual(["end", "ECONNRESET"]);
});
