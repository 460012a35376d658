import { expect, test } from "bun:test";
import { CancelledError, CancelSource, ClosedError, connect } from "../../src/index.ts";
import { blackHole, keeper, pair } from "../setup.ts";
import { BULK, Log, rejection, turns } from "./outcome.ts";

const keep = keeper();
const one = () => new Uint8Array(1);

/** Handlers that run in the middle of a cancel, before and behind the operations' own. */
function whenAborted(signal: AbortSignal, handler: () => void): void {
  signal.addEventListener("abort", handler, { once: true });
}

for (const when of ["before", "behind"] as const) {
  test(`an abort handler ${when} the reads' own closes the socket: each read has one outcome`, async () => {
    const { client } = pair(keep);
    const controller = new AbortController();
    const log = new Log();
    if (when === "before") whenAborted(controller.signal, () => client.close());
    const reads = [0, 1, 2].map((i) => log.add(`${i}`, client.read(one(), { signal: controller.signal })));
    const other = log.add("other", client.read(one()));
    if (when === "behind") whenAborted(controller.signal, () => client.close());
    await turns();
    controller.abort("stop");
    await Promise.all([...reads, other]);
    const own = when === "before" ? "ClosedError" : "stop";
    expect(log.entries.toSorted()).toEqual([`0: ${own}`, `1: ${own}`, `2: ${own}`, "other: ClosedError"]);
    expect(client.closed).toBe(true);
  });

  test(`an abort handler ${when} the reads' own starts reads: they are pending, and get the data`, async () => {
    const { client, server } = pair(keep);
    const controller = new AbortController();
    let started: Promise<number>[] = [];
    const start = () => {
      started = [client.read(one()), client.read(one())];
    };
    if (when === "before") whenAborted(controller.signal, start);
    const cancelled = client.read(one(), { signal: controller.signal });
    if (when === "behind") whenAborted(controller.signal, start);
    await turns();
    controller.abort("stop");
    expect(await rejection<unknown>(cancelled)).toBe("stop");
    server.writeSync("ab");
    expect(await Promise.all(started)).toEqual([1, 1]);
  });
}

test("an abort handler of a source's signal closes the socket, starts reads, cancels others, and disposes the source", async () => {
  const { client, server } = pair(keep);
  const spare = pair(keep).client;
  const source = keep(new CancelSource());
  using other = new CancelSource();
  const log = new Log();
  const all = [
    log.add("read", client.read(one(), { cancel: source })),
    log.add("read of other", client.read(one(), { cancel: other })),
    log.add("spare", spare.read(one(), { cancel: source })),
  ];
  let started: Promise<number> | undefined;
  whenAborted(source.signal, () => {
    other.cancel("as well");
    started = client.read(one());
    spare.close();
    source.dispose();
  });
  await turns();
  expect(source.cancel("first")).toBe(true);
  await Promise.all(all);
  // The operations are ended before code of users runs.
  expect(log.entries.toSorted()).toEqual(["read of other: AbortError", "read: AbortError", "spare: AbortError"]);
  expect(source.cancel()).toBe(false);
  server.writeSync("x");
  expect(await started).toBe(1);
});

test("an abort handler resets the source and starts a read with it: that one belongs to the next round", async () => {
  const { client, server } = pair(keep);
  using source = new CancelSource();
  let next: Promise<number> | undefined;
  const into = one();
  whenAborted(source.signal, () => {
    source.reset();
    next = client.read(into, { cancel: source });
  });
  const read = client.read(one(), { cancel: source });
  await turns();
  source.cancel("this round");
  expect(await rejection(read)).toMatchObject({ name: "AbortError", cause: "this round" });
  await turns();
  server.writeSync("n");
  expect(await next).toBe(1);
  expect(source.cancelled).toBe(false);
});

for (const [what, act] of [
  ["closes the socket", "close"],
  ["disposes the socket's source", "dispose"],
] as const) {
  test(`an abort handler of the socket's own signal ${what} in the middle of socket.cancel`, async () => {
    const { client } = pair(keep);
    const { cancelSource } = client;
    const read = client.read(one());
    whenAborted(cancelSource.signal, () => {
      if (act === "close") client.close();
      else cancelSource.dispose();
    });
    await turns();
    client.cancel("why");
    expect(await rejection(read)).toMatchObject({ name: "AbortError", cause: "why" });
    expect(client.closed).toBe(act === "close");
    if (act === "close") return;
    const next = client.read(one());
    await turns();
    client.cancel("once more");
    expect(await rejection(next)).toMatchObject({ name: "AbortError", cause: "once more" });
  });
}

test("an abort handler of a lookup's signal does anything at all: connect has one outcome", async () => {
  const { client } = pair(keep);
  using source = new CancelSource();
  const read = client.read(one(), { cancel: source });
  let handled = 0;
  const connecting = connect({
    hostname: "name.test",
    port: 1,
    cancel: source,
    lookup: (_name, { signal }) =>
      new Promise((_, reject) => {
        whenAborted(signal, () => {
          handled++;
          client.close();
          source.dispose();
          reject(new Error("nobody hears this"));
        });
      }),
  });
  await turns();
  source.cancel("stop");
  expect(await rejection(connecting)).toMatchObject({ name: "AbortError", cause: "stop" });
  expect((await rejection(read)).name).toBeOneOf(["AbortError", "ClosedError"]);
  expect(handled).toBe(1);
});

test("a lookup function that cancels its own connect ends it", async () => {
  using source = new CancelSource();
  const connecting = connect({
    hostname: "name.test",
    port: 1,
    cancel: source,
    lookup: async () => {
      source.cancel("from inside");
      return [{ address: "127.0.0.1", port: 0, family: "IPv4" }];
    },
  });
  expect(await rejection(connecting)).toMatchObject({ name: "AbortError", cause: "from inside" });
});

test("continuations close the socket: what is pending behind them gets ClosedError, once", async () => {
  const { client, server } = pair(keep);
  const log = new Log();
  const all = Array.from({ length: 5 }, (_, i) => {
    const reading = client.read(one());
    return log.add(`${i}`, i === 1 ? reading.finally(() => client.close()) : reading);
  });
  server.writeSync("ab"); // for two of them
  await Promise.all(all);
  expect(log.entries.toSorted()).toEqual(["0: 1", "1: 1", "2: ClosedError", "3: ClosedError", "4: ClosedError"]);
});

test("continuations of cancelled operations start new ones, cancel others and dispose sources", async () => {
  const { client, server } = pair(keep);
  const source = keep(new CancelSource());
  using second = new CancelSource();
  const into = one();
  const reading = client.read(one(), { cancel: source }).catch((error) => {
    expect(error).toBeInstanceOf(CancelledError);
    source.dispose();
    second.cancel("chain");
    return client.read(into);
  });
  const writing = client.write(BULK, { cancel: second });
  await turns();
  source.cancel();
  const { bytesWritten } = client;
  expect(await rejection(writing)).toMatchObject({ name: "AbortError", cause: "chain", bytesWritten });
  server.writeSync("z");
  expect(await reading).toBe(1);
  expect(into[0]).toBe("z".charCodeAt(0));
});

test("a source that is disposed while a read waits on it cancels it no more in this thread, and a close still ends the read", async () => {
  const { client } = pair(keep);
  const source = new CancelSource();
  const read = client.read(one(), { cancel: source });
  await turns();
  source.dispose();
  expect(source.cancel()).toBe(false);
  client.close();
  expect(await rejection(read)).toBeInstanceOf(ClosedError);
});

test("a cancel after the result, and before its continuation has run, does nothing", async () => {
  const { client, server } = pair(keep);
  using source = new CancelSource();
  const controller = new AbortController();
  server.writeSync("ab");
  const first = client.read(one(), { cancel: source });
  const second = client.read(one(), { signal: controller.signal });
  source.cancel();
  controller.abort();
  client.cancel();
  expect(await first).toBe(1);
  expect(await second).toBe(1);
});

test("a hundred reads, writes, accepts and connects under one signal: one abort, one outcome each", async () => {
  const { client, listener } = pair(keep);
  const hole = blackHole(keep);
  const bulk = rejection(client.write(BULK));
  const controller = new AbortController();
  const { signal } = controller;
  let settled = 0;
  const all = Array.from({ length: 100 }, (_, i) =>
    [
      () => client.read(one(), { signal }),
      () => client.write("x", { signal }),
      () => listener.accept({ signal }),
      () => connect({ hostname: "127.0.0.1", port: hole.port, signal }),
    ][i % 4]!().then(
      () => settled++,
      (error) => {
        settled++;
        return error;
      },
    ),
  );
  await turns();
  const reason = { any: "object" };
  controller.abort(reason);
  for (const error of await Promise.all(all)) expect(error).toBe(reason);
  await turns();
  expect(settled).toBe(100);
  client.close();
  expect(await bulk).toBeInstanceOf(ClosedError);
});
