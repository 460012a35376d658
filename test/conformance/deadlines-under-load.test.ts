/** Go's net/timeout_test.go: deadlines that are set again and again, raced and fired while data flows. */
import { expect, test } from "bun:test";
import { monotonic } from "../../ffi/index.ts";
import { connect, listen, type TcpSocket, TimeoutError } from "../../src/index.ts";
import type { Ending } from "../bodies/conformance-load.ts";
import { keeper, pair } from "../setup.ts";
import { start } from "../victim.ts";
import { type Form, forms, timedOut } from "./forms.ts";

const keep = keeper();
const HOUR = 3_600_000;
/** More than any socket buffer takes. */
const HUGE = new Uint8Array(64 << 20);
/** From a nanosecond to a second, as in Go. */
const deadlines = [1e-6, 0.001, 0.01, 0.1, 0.5, 1, 5, 25, 50, 100, 250, 500, 1000];

/** Null if it succeeds or times out, else the error. */
async function mayTimeOut(operation: Promise<unknown>): Promise<unknown> {
  return await operation.then(
    () => null,
    (error) => (error instanceof TimeoutError ? null : error),
  );
}

/** A turn of the event loop. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

for (const form of forms) {
  const row = (name: string, body: () => Promise<void>) => test(`timeout_test ${name}, ${form.name}`, body);

  // Go also wants them to be no more than a tenth late. How late they are is for the benchmarks to say, not for a machine
  // that others use.
  const fluctuation: [string, (socket: TcpSocket, form: Form) => Promise<unknown>][] = [
    ["TestReadTimeoutFluctuation: a read deadline", (socket) => form.read(socket, new Uint8Array(256))],
    ["TestWriteTimeoutFluctuation: a write deadline", (socket) => form.write(socket, HUGE)],
  ];
  for (const [name, operation] of fluctuation) {
    row(`${name} of 1 ms to a quarter of a second never fires early`, async () => {
      const { client } = pair(keep);
      await timedOut(form.write(client, HUGE, { timeout: 20 })); // no room is left
      for (const deadline of [1, 1.5, 2.25, 3.3, 5, 7.6, 11.4, 17, 25.6, 38.4, 57.7, 86.5, 129.7, 250]) {
        const begin = monotonic();
        client.setDeadline(deadline);
        await timedOut(operation(client, form));
        expect(monotonic() - begin).toBeGreaterThanOrEqual(deadline);
      }
    });
  }

  row("TestReadWriteProlongedTimeout: an hour that is set anew before every operation never ends one", async () => {
    const { client, server } = pair(keep);
    const into = new Uint8Array(1);
    const reading = async () => {
      for (let i = 0; i < 1000; i++) {
        server.setReadDeadline(HOUR);
        expect(await form.read(server, into)).toBe(1);
      }
    };
    const writing = async () => {
      for (let i = 0; i < 1000; i++) {
        client.setDeadline(HOUR);
        server.setWriteDeadline(HOUR);
        expect(await form.write(client, "r")).toBe(1);
      }
    };
    if (form.name === "promises") await Promise.all([reading(), writing()]);
    else await writing().then(reading);
  });

  row("TestReadWriteDeadlineRace: deadlines of 2 µs under operations that go on end them, or do not", async () => {
    const { client } = pair(keep);
    const into = new Uint8Array(1);
    const errors: unknown[] = [];
    const setting = async () => {
      for (let i = 0; i < 1000; i++) {
        if (i % 3 === 0) client.setDeadline(0.002);
        else if (i % 3 === 1) client.setReadDeadline(0.002);
        else client.setWriteDeadline(0.002);
        if (form.name === "promises") await turn();
      }
    };
    const reading = async () => {
      for (let i = 0; i < 1000; i++) errors.push(await mayTimeOut(form.read(client, into, { timeout: 0.1 })));
    };
    const writing = async () => {
      for (let i = 0; i < 1000; i++) errors.push(await mayTimeOut(form.write(client, "r", { timeout: 0.1 })));
    };
    await Promise.all([setting(), reading(), writing()]);
    expect(errors.filter((error) => error !== null)).toEqual([]);
    expect(errors.length).toBe(2000);
    client.setDeadline(null);
    expect(await form.write(client, "after all that")).toBe(14);
  });
}

/** One after the other takes its time. */
const shortDeadlines = deadlines.filter((deadline) => deadline <= 250);
for (const threads of [1, 4]) {
  const name = threads === 1 ? "TestVariousDeadlines1Proc" : "TestVariousDeadlines4Proc";
  test(`timeout_test ${name}: a nanosecond to a quarter of a second, each ends in a timeout, in ${threads} threads, blocking`, async () => {
    const readers = [];
    for (let i = 0; i < threads; i++) {
      const listener = keep(listen({ hostname: "127.0.0.1" }));
      const job = { listener: listener.handle, clients: shortDeadlines.length };
      await start(keep, "conformance-load", "pourToClients", job);
      const { port } = listener.address;
      readers.push(await start(keep, "conformance-load", "readUnderDeadlines", { port, deadlines: shortDeadlines }));
    }
    for (const reader of readers) {
      for (const { deadline, took, name } of await reader.next<Ending[]>()) {
        expect(name).toBe("TimeoutError");
        expect(took).toBeGreaterThanOrEqual(deadline);
      }
    }
  });
}

test("timeout_test TestVariousDeadlines: a nanosecond to a second, each ends in a timeout, all at once, promises", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  const pour = async (socket: TcpSocket) => {
    const { code } = await socket.write(HUGE).catch((error) => error);
    expect(code === undefined || code === "ECONNRESET" || code === "EPIPE").toBe(true);
  };
  const read = async (deadline: number) => {
    using socket = await connect({ hostname: "127.0.0.1", port });
    const into = new Uint8Array(512); // the stream is not at its end before the last deadline
    const begin = monotonic();
    socket.setReadDeadline(deadline);
    await timedOut(
      (async () => {
        for (;;) expect(await socket.read(into)).toBeGreaterThan(0);
      })(),
    );
    expect(monotonic() - begin).toBeGreaterThanOrEqual(deadline);
  };
  const reading = Promise.all(deadlines.map(read));
  const pouring: Promise<void>[] = [];
  for (const _ of deadlines) pouring.push(pour(keep(await listener.accept({ timeout: 20_000 }))));
  await reading;
  await Promise.all(pouring);
});

test("timeout_test TestConcurrentSetDeadline: 8,000 deadlines of 80 sockets, steadily earlier, all in their time", async () => {
  const [servers, perServer, times] = [8, 10, 100];
  const waiting: Promise<void>[] = [];
  const sockets: TcpSocket[] = [];
  const begin = monotonic();
  const set: number[] = [];
  for (let i = 0; i < servers; i++) {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    for (let j = 0; j < perServer; j++) {
      sockets.push(keep(await connect({ hostname: "127.0.0.1", port: listener.address.port })));
    }
  }
  for (const [index, socket] of sockets.entries()) {
    socket.setReadDeadline(HOUR);
    waiting.push(
      timedOut(socket.read(new Uint8Array(1))).then(() => {
        expect(set[index]).toBeDefined();
        expect(monotonic()).toBeGreaterThanOrEqual(set[index]!);
      }),
    );
  }
  for (let time = 1; time <= times; time++) {
    for (const socket of sockets) socket.setReadDeadline(HOUR - time * 10_000 - Math.random());
    if (time % 10 === 0) await turn();
  }
  for (const [index, socket] of sockets.entries()) {
    const after = ((index * 37) % 80) + 20;
    set[index] = monotonic() + after;
    socket.setReadDeadline(after);
  }
  await Promise.all(waiting);
  expect(monotonic() - begin).toBeGreaterThanOrEqual(99);
});
