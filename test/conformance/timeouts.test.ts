/** Go's net/timeout_test.go: what a timeout or a deadline ends, and what it must not end. Each row in both forms. */
import { expect, test } from "bun:test";
import { monotonic } from "../../ffi/index.ts";
import { CancelSource, ClosedError, connect, listen, TimeoutError, type When } from "../../src/index.ts";
import { BLOCKS, CANCELLED } from "../bodies/conformance-peers.ts";
import { descriptors } from "../fds.ts";
import { reach } from "../gates.ts";
import { blackHole, keeper, pair } from "../setup.ts";
import { thrown } from "../thread.ts";
import { start } from "../victim.ts";
import { mainThread, unchangedSince, warmUp } from "./connections.ts";
import { failure, forms, LONG_AGO, timedOut } from "./forms.ts";

const keep = keeper();
/** More than any socket buffer takes. */
const HUGE = new Uint8Array(64 << 20);
const SOON = 30_000;

/** How long it took to time out, which must not be less than `least` milliseconds. */
async function timeToTimeout(least: number, operation: () => Promise<unknown>): Promise<void> {
  const begin = monotonic();
  await timedOut(operation());
  const took = monotonic() - begin;
  expect(took).toBeGreaterThanOrEqual(least);
  expect(took).toBeLessThan(least + SOON);
}

/** What has to go on waiting: it still does when a good while has passed, and a close ends it, not a timeout. */
async function waitsUntilClosed(operation: Promise<unknown>, close: () => void): Promise<void> {
  let settled = false;
  const ended = failure(operation).finally(() => {
    settled = true;
  });
  await Bun.sleep(100);
  expect(settled).toBe(false);
  close();
  const error = await ended;
  expect(error).toBeInstanceOf(ClosedError);
  expect(error.timeout).toBeUndefined();
}

/** The same of a blocked thread, which another thread has to end. */
async function blocksUntilCancelled(operation: (cancel: CancelSource) => unknown): Promise<void> {
  const cancel = keep(new CancelSource());
  const job = { cancel: cancel.handle, tid: mainThread, times: 1 };
  const { flags } = await start(keep, "conformance-peers", "cancelWhenBlocked", job);
  reach(flags, BLOCKS);
  expect(thrown(() => operation(cancel)).name).toBe("AbortError");
  expect(Atomics.load(flags, CANCELLED)).toBe(1);
}

for (const form of forms) {
  const row = (name: string, body: () => Promise<void>) => test(`timeout_test ${name}, ${form.name}`, body);

  row("TestDialTimeout: a time that has passed, or 50 ms, ends a dial that nobody answers, never early", async () => {
    const { port } = blackHole(keep);
    const dial = (timeout: When) => form.connect({ hostname: "127.0.0.1", port, timeout });
    await warmUp(keep);
    const before = descriptors();
    for (const timeout of [-5000, Number.MIN_SAFE_INTEGER, Number.NEGATIVE_INFINITY, LONG_AGO, new Date(-1)]) {
      await timeToTimeout(0, () => dial(timeout));
    }
    await timeToTimeout(50, () => dial(50));
    await timedOut(dial(new Date(Date.now() + 50)));
    await unchangedSince(before);
  });

  row("TestDialTimeout: of a timeout and the deadline of a source the earlier one ends the dial", async () => {
    const { port } = blackHole(keep);
    for (const [timeout, deadline] of [
      [50, 3_600_000],
      [3_600_000, 50],
      [50, -5000],
      [-5000, 50],
    ] as const) {
      const begin = monotonic();
      using cancel = CancelSource.timeout(deadline);
      const least = Math.max(0, Math.min(timeout, deadline));
      await timedOut(form.connect({ hostname: "127.0.0.1", port, timeout, cancel }));
      const took = monotonic() - begin;
      expect(took).toBeGreaterThanOrEqual(least);
      expect(took).toBeLessThan(least + SOON);
    }
  });

  row("TestDialTimeoutMaxDuration: the farthest times do not overflow into one that has passed", async () => {
    const { port } = keep(listen({ hostname: "127.0.0.1" })).address;
    for (const timeout of [Number.MAX_SAFE_INTEGER, Number.MAX_VALUE, 2 ** 31, 2 ** 63, new Date(8.64e15)]) {
      using cancel = CancelSource.timeout(timeout);
      keep(await form.connect({ hostname: "127.0.0.1", port, timeout, cancel }));
    }
  });

  row("TestAcceptTimeout: a deadline that has passed beats a client in the queue, again and again", async () => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    keep(await connect({ hostname: "127.0.0.1", port: listener.address.port }));
    listener.setDeadline(-5000);
    for (let i = 0; i < 10; i++) await timedOut(form.accept(listener));
    listener.setDeadline(null);
    keep(await form.accept(listener, { timeout: SOON }));
  });

  row("TestAcceptTimeout: up to the deadline clients are accepted, and from then on all times out", async () => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    keep(await connect({ hostname: "127.0.0.1", port: listener.address.port }));
    listener.setDeadline(3_600_000);
    keep(await form.accept(listener));
    const begin = monotonic();
    listener.setDeadline(50);
    await timedOut(form.accept(listener));
    expect(monotonic() - begin).toBeGreaterThanOrEqual(50);
    for (let i = 0; i < 10; i++) await timedOut(form.accept(listener));
  });

  row(
    "TestAcceptTimeoutMustReturn: a deadline in ten milliseconds ends an accept, also after none was set",
    async () => {
      const listener = keep(listen({ hostname: "127.0.0.1" }));
      listener.setDeadline(null);
      listener.setDeadline(10);
      await timeToTimeout(9, () => form.accept(listener));
    },
  );

  row("TestAcceptTimeoutMustNotReturn: after a deadline that has passed was cleared, accept waits", async () => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    listener.setDeadline(-5000);
    listener.setDeadline(null);
    if (form.name === "promises") await waitsUntilClosed(listener.accept(), () => listener.close());
    else await blocksUntilCancelled((cancel) => listener.acceptSync({ cancel }));
  });

  row("TestReadTimeout: a deadline that has passed beats the data that is there, which is not lost", async () => {
    const { client, server } = pair(keep);
    server.writeSync("READ TIMEOUT TEST");
    const into = new Uint8Array(1024);
    client.setReadDeadline(-5000);
    for (let i = 0; i < 10; i++) await timedOut(form.read(client, into));
    expect(client.bytesRead).toBe(0);
    client.setReadDeadline(3_600_000);
    expect(await form.read(client, into)).toBe(17);
    const begin = monotonic();
    client.setReadDeadline(50);
    await timedOut(form.read(client, into));
    expect(monotonic() - begin).toBeGreaterThanOrEqual(50);
    for (let i = 0; i < 10; i++) await timedOut(form.read(client, into));
  });

  row(
    "TestReadTimeoutMustNotReturn: deadlines that have passed and were cleared for reading leave it waiting",
    async () => {
      const { client } = pair(keep);
      client.setWriteDeadline(-5000);
      client.setDeadline(-5000);
      client.setReadDeadline(null);
      const into = new Uint8Array(1);
      if (form.name === "promises") await waitsUntilClosed(client.read(into), () => client.close());
      else await blocksUntilCancelled((cancel) => client.readSync(into, { cancel }));
    },
  );

  row("TestWriteTimeout: past a deadline not one byte is written, although there is room", async () => {
    const { client, server } = pair(keep);
    client.setWriteDeadline(-5000);
    for (let i = 0; i < 10; i++) expect((await timedOut(form.write(client, "WRITE"))).bytesWritten).toBe(0);
    expect(client.bytesWritten).toBe(0);
    const begin = monotonic();
    client.setWriteDeadline(50);
    const { bytesWritten } = await timedOut(form.write(client, HUGE));
    expect(monotonic() - begin).toBeGreaterThanOrEqual(50);
    for (let i = 0; i < 10; i++) expect((await timedOut(form.write(client, "WRITE"))).bytesWritten).toBe(0);
    client.close();
    const into = new Uint8Array(1 << 20);
    let arrived = 0;
    for (let count: number; (count = await form.read(server, into, { timeout: SOON })) > 0; ) arrived += count;
    expect(arrived).toBe(bytesWritten!);
  });

  row("TestWriteTimeoutMustNotReturn: a deadline that has passed for reading does not end a write", async () => {
    const { client } = pair(keep);
    client.setReadDeadline(-5000);
    client.setDeadline(-5000);
    client.setWriteDeadline(null);
    if (form.name === "promises") await waitsUntilClosed(client.write(HUGE), () => client.close());
    else await blocksUntilCancelled((cancel) => client.writeSync(HUGE, { cancel }));
  });

  row("TestContextError, net_test's TestReadTimeoutUnblocksRead: what a timeout throws is one class", async () => {
    const { client, listener } = pair(keep);
    const { port } = blackHole(keep);
    using source = CancelSource.timeout(0);
    client.setDeadline(0);
    const all = [
      form.read(client, new Uint8Array(1)),
      form.read(client, new Uint8Array(1), { timeout: 0 }),
      form.write(client, "x"),
      form.accept(listener, { cancel: source }),
      form.connect({ hostname: "127.0.0.1", port, timeout: 1 }),
    ];
    for (const error of await Promise.all(all.map(failure))) {
      expect(error).toBeInstanceOf(TimeoutError);
      expect(error).toMatchObject({ name: "TimeoutError", code: "ERR_TIMEOUT", timeout: true });
    }
  });
}
