/** Go's nettest.TestConn, promise form: both ends in this thread. What each subtest asserts is what its Go namesake does. */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { monotonic } from "../../ffi/index.ts";
import { ClosedError, SystemError, TimeoutError } from "../../src/index.ts";
import { LAST } from "../bodies/conformance-peers.ts";
import { keeper } from "../setup.ts";
import { until } from "../thread.ts";
import { connected, kinds, type Stream } from "./connections.ts";
import { failure, LONG_AGO, timedOut } from "./forms.ts";

const keep = keeper();
const MARK = 0xff;
/** More than any socket buffer takes. */
const HUGE = new Uint8Array(64 << 20);

/** Until the connection is over, on either side; anything else fails the test. */
async function untilOver(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const reset = error instanceof SystemError && (error.code === "ECONNRESET" || error.code === "EPIPE");
    if (!reset && !(error instanceof ClosedError)) throw error;
  }
}

const echo = (socket: Stream) =>
  untilOver(async () => {
    const buffer = new Uint8Array(1024);
    for (let count: number; (count = await socket.read(buffer)) > 0; ) await socket.write(buffer.subarray(0, count));
  });

const discard = (socket: Stream) =>
  untilOver(async () => {
    const buffer = new Uint8Array(1024);
    while ((await socket.read(buffer)) > 0);
  });

const pour = (socket: Stream) =>
  untilOver(async () => {
    for (const buffer = new Uint8Array(1024); ; ) await socket.write(crypto.getRandomValues(buffer));
  });

/** Null if it is a success or a timeout, else the error. */
const unlessTimeout = (error: unknown) => (error instanceof TimeoutError ? null : error);

/** Sends a message to an echo and gets it back. */
async function roundTrip(socket: Stream): Promise<void> {
  socket.setDeadline(null);
  const message = crypto.getRandomValues(new Uint8Array(2000));
  const back = new Uint8Array(2000);
  const written = socket.write(message);
  for (let got = 0; got < back.length; ) got += await socket.read(back.subarray(got));
  expect(await written).toBe(2000);
  expect(back).toEqual(message);
}

/** Reads away what an echo still sends of operations that were cut short: zeros, up to the mark. */
async function resynchronize(socket: Stream): Promise<void> {
  socket.setDeadline(null);
  const buffer = new Uint8Array(1024);
  const written = socket.write(Uint8Array.of(MARK));
  for (let last = 0; last !== MARK; ) last = buffer[(await socket.read(buffer)) - 1]!;
  await written;
}

for (const kind of kinds) {
  const nettest = (name: string, body: () => Promise<void>) => test(`nettest ${name} over ${kind}, promises`, body);

  nettest("BasicIO: a mebibyte in chunks of a kibibyte arrives as it was sent, and ends with the close", async () => {
    const { near, far } = await connected(keep, kind);
    const want = randomBytes(1 << 20);
    const sending = (async () => {
      for (let at = 0; at < want.length; at += 1024) await near.write(want.subarray(at, at + 1024));
      near.close();
    })();
    const got: Buffer[] = [];
    const buffer = new Uint8Array(1024);
    for (let count: number; (count = await far.read(buffer)) > 0; ) got.push(Buffer.from(buffer.subarray(0, count)));
    await sending;
    expect(Buffer.concat(got).equals(want)).toBe(true);
    expect(await far.read(buffer)).toBe(0);
  });

  nettest("PingPong: a number goes back and forth to 1,000, and each is two more than the one before", async () => {
    const { near, far } = await connected(keep, kind);
    const play = async (socket: Stream): Promise<string> => {
      const bytes = new Uint8Array(8);
      const number = new DataView(bytes.buffer);
      for (let previous: bigint | null = null; ; ) {
        for (let got = 0; got < 8; ) {
          const count = await socket.read(bytes.subarray(got));
          if (count === 0) return "the other end is done";
          got += count;
        }
        const value = number.getBigUint64(0, true);
        if (previous !== null) expect(value).toBe(previous + 2n);
        previous = value;
        if (value === LAST) {
          socket.close();
          return "the last number";
        }
        number.setBigUint64(0, value + 1n, true);
        await socket.write(bytes);
      }
    };
    const games = Promise.all([play(near), play(far)]);
    await near.write(new Uint8Array(8));
    expect((await games).sort()).toEqual(["the last number", "the other end is done"]);
  });

  for (const [name, act] of [
    ["RacyRead", (socket: Stream, buffer: Uint8Array) => socket.read(buffer)],
    ["RacyWrite", (socket: Stream, buffer: Uint8Array) => socket.write(buffer)],
  ] as const) {
    nettest(`${name}: of 10 times 100 under a deadline that rolls on, each succeeds or times out`, async () => {
      const { near, far } = await connected(keep, kind);
      const peer = name === "RacyRead" ? pour(far) : discard(far);
      const roll = () => (name === "RacyRead" ? near.setReadDeadline(1) : near.setWriteDeadline(1));
      let [moved, done] = [0, 0];
      const work = async () => {
        for (let i = 0; i < 100; i++, done++) {
          const buffer = new Uint8Array(1024);
          await act(near, buffer).then(
            (count) => (moved += count),
            (error) => {
              moved += error.bytesWritten ?? 0;
              expect(unlessTimeout(error)).toBeNull();
            },
          );
          buffer.fill(7); // it is ours again as soon as the operation has settled
          roll();
        }
      };
      roll();
      await Promise.all(Array.from({ length: 10 }, work));
      expect(done).toBe(1000);
      expect(name === "RacyRead" ? near.bytesRead : near.bytesWritten).toBe(moved);
      near.close();
      await peer;
      if (name === "RacyWrite") expect(far.bytesRead).toBe(moved);
    });
  }

  nettest("ReadTimeout: an expired read deadline fails the read, and a write goes on", async () => {
    const { near, far } = await connected(keep, kind);
    const peer = discard(far);
    near.setReadDeadline(LONG_AGO);
    await timedOut(near.read(new Uint8Array(1024)));
    expect(await near.write(new Uint8Array(1024))).toBe(1024);
    near.close();
    await peer;
  });

  nettest("WriteTimeout: an expired write deadline fails the write, and a read goes on", async () => {
    const { near, far } = await connected(keep, kind);
    const peer = pour(far);
    near.setWriteDeadline(LONG_AGO);
    await timedOut(near.write(new Uint8Array(1024)));
    expect(await near.read(new Uint8Array(1024))).toBeGreaterThan(0);
    near.close();
    await peer;
  });

  nettest("PastTimeout: past a deadline nothing is read or written, and once it is cleared all works", async () => {
    const { near, far } = await connected(keep, kind);
    const peer = echo(far);
    await roundTrip(near);
    near.setDeadline(LONG_AGO);
    const { bytesRead, bytesWritten } = near;
    expect((await timedOut(near.write(new Uint8Array(1024)))).bytesWritten).toBe(0);
    await timedOut(near.read(new Uint8Array(1024)));
    expect([near.bytesRead, near.bytesWritten]).toEqual([bytesRead, bytesWritten]);
    await roundTrip(near);
    near.close();
    await peer;
  });

  nettest(
    "PresentTimeout: a past deadline that is set while a read and a write wait ends both, not before",
    async () => {
      const { near } = await connected(keep, kind);
      let isSet = false;
      const ends = [near.read(new Uint8Array(1024)), near.write(HUGE)].map(async (operation) => {
        const error = await timedOut(operation);
        expect(isSet).toBe(true);
        return error.bytesWritten;
      });
      await until("the write to fill the buffers", () => near.bytesWritten > 0);
      await Bun.sleep(100); // as Go has it: nothing may end them meanwhile
      isSet = true;
      near.setReadDeadline(LONG_AGO);
      near.setWriteDeadline(LONG_AGO);
      expect(await Promise.all(ends)).toEqual([undefined, near.bytesWritten]);
      expect(near.bytesRead).toBe(0);
    },
  );

  nettest("FutureTimeout: a deadline to come ends a read and a write, and once it is cleared all works", async () => {
    const { near, far } = await connected(keep, kind);
    const begin = monotonic();
    near.setDeadline(100);
    const reading = timedOut(near.read(new Uint8Array(1)));
    const writing = timedOut(near.write(HUGE));
    for (const ending of [reading, writing]) {
      await ending;
      expect(monotonic() - begin).toBeGreaterThanOrEqual(100);
    }
    const peer = echo(far);
    await resynchronize(near);
    await roundTrip(near);
    near.close();
    await peer;
  });

  nettest("CloseTimeout: a close ends a read and a write that have no deadline", async () => {
    const { near, far } = await connected(keep, kind);
    const peer = echo(far);
    near.setDeadline(null);
    const loop = async (act: () => Promise<number>): Promise<never> => {
      for (;;) await act();
    };
    const into = new Uint8Array(1024);
    const ends = [loop(() => near.read(into)), loop(() => near.write(new Uint8Array(1024)))].map(failure);
    await until("some of it to come back", () => near.bytesRead > 100_000);
    near.close();
    for (const end of ends) expect(await end).toBeInstanceOf(ClosedError);
    await peer;
  });

  nettest("ConcurrentMethods: 100 of each method at once do each other no harm", async () => {
    const { near, far } = await connected(keep, kind);
    const peer = echo(far);
    const working: Promise<unknown>[] = [];
    const { localAddress, remoteAddress } = near;
    for (let i = 0; i < 100; i++) {
      working.push(near.read(new Uint8Array(1024)).catch((error) => expect(unlessTimeout(error)).toBeNull()));
      working.push(near.write(new Uint8Array(1024)).catch((error) => expect(unlessTimeout(error)).toBeNull()));
      near.setDeadline(10);
      near.setReadDeadline(10);
      near.setWriteDeadline(10);
      expect(near.localAddress).toEqual(localAddress);
      expect(near.remoteAddress).toEqual(remoteAddress);
      if (i % 5 === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    await Promise.all(working);
    await resynchronize(near);
    await roundTrip(near);
    near.close();
    await peer;
  });
}
