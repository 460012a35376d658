/**
 * Go's nettest.TestConn, blocking form: one end blocks this thread, the other one plays its part in a Worker. What Go does
 * from ten goroutines at once happens in turns here, as a socket belongs to one thread. For the same reason nobody can move
 * the deadline of a blocked thread, or close its socket under it; the design's way is a source, cancelled by another thread.
 */
import { expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { monotonic } from "../../ffi/index.ts";
import { CancelledError, CancelSource, ClosedError, TimeoutError } from "../../src/index.ts";
import { BLOCKS, CANCELLED, type Discarded, GO, pingPong } from "../bodies/conformance-peers.ts";
import { reach } from "../gates.ts";
import { keeper } from "../setup.ts";
import { type Thread, thrown } from "../thread.ts";
import { start } from "../victim.ts";
import { connectedTo, kinds, mainThread, type Stream } from "./connections.ts";
import { LONG_AGO } from "./forms.ts";

const keep = keeper();
const MARK = 0xff;
const limits = { timeout: 20_000 };
/** More than any socket buffer takes. */
const HUGE = new Uint8Array(64 << 20);

const go = ({ flags }: Thread) => reach(flags, GO);

/** What the operation fails with, which has to be a timeout. */
function timedOut(operation: () => unknown): TimeoutError {
  const error = thrown(operation);
  if (!(error instanceof TimeoutError) || !error.timeout) throw error;
  return error;
}

/** Null if it times out, else what it returns. */
function unlessTimeout<T>(operation: () => T): T | null {
  try {
    return operation();
  } catch (error) {
    if (error instanceof TimeoutError) return null;
    throw error;
  }
}

/** Sends a message to an echo and gets it back. */
function roundTrip(socket: Stream): void {
  socket.setDeadline(null);
  const message = randomBytes(2000);
  const back = new Uint8Array(2000);
  expect(socket.writeSync(message, limits)).toBe(2000);
  for (let got = 0; got < back.length; ) got += socket.readSync(back.subarray(got), limits);
  expect(message.equals(back)).toBe(true);
}

/** Reads away what an echo still sends of operations that were cut short: zeros, up to the mark. */
function resynchronize(socket: Stream): void {
  socket.setDeadline(null);
  const buffer = new Uint8Array(1024);
  // The echo takes the mark only once it can get rid of what came before it.
  for (let [last, isSent] = [0, false]; last !== MARK; ) {
    isSent ||= socket.tryWrite(Uint8Array.of(MARK)) === 1;
    const count = isSent ? socket.readSync(buffer, limits) : (socket.tryRead(buffer) ?? 0);
    if (count > 0) last = buffer[count - 1]!;
  }
}

/** Has another thread cancel `source` each time that this one blocks; `blocked` checks that it was not ended before. */
async function cancelledByAnother(source: CancelSource, times: number) {
  const { flags } = await start(keep, "conformance-peers", "cancelWhenBlocked", {
    cancel: source.handle,
    tid: mainThread,
    times,
  });
  let time = 0;
  return (operation: () => unknown): CancelledError & { bytesWritten?: number } => {
    reach(flags, BLOCKS, ++time);
    const error = thrown(operation);
    expect(Atomics.load(flags, CANCELLED)).toBe(time);
    expect(error).toBeInstanceOf(CancelledError);
    expect(error.cause).toBe(`time ${time}`);
    return error as CancelledError;
  };
}

for (const kind of kinds) {
  const nettest = (name: string, body: () => Promise<void>) => test(`nettest ${name} over ${kind}, blocking`, body);

  nettest("BasicIO: a mebibyte in chunks of a kibibyte arrives as it was sent, and ends with the close", async () => {
    const { near, peer } = await connectedTo(keep, kind, "discard");
    go(peer);
    const want = randomBytes(1 << 20);
    for (let at = 0; at < want.length; at += 1024) near.writeSync(want.subarray(at, at + 1024), limits);
    near.close();
    const hash = createHash("sha256").update(want).digest("hex");
    expect(await peer.next<Discarded>()).toEqual({ length: want.length, hash, ended: "end" });
  });

  nettest("PingPong: a number goes back and forth to 1,000, and each is two more than the one before", async () => {
    const { near, peer } = await connectedTo(keep, kind, "pong");
    go(peer);
    const mine = pingPong(near, true);
    near.close();
    expect([mine, await peer.next<string>()].sort()).toEqual(["the last number", "the other end is done"]);
  });

  nettest("RacyRead: of 1,000 reads under a deadline that rolls on, each succeeds or times out", async () => {
    const { near, peer } = await connectedTo(keep, kind, "source");
    near.setReadDeadline(1);
    let moved = 0;
    const buffer = new Uint8Array(1024);
    for (let i = 0; i < 1000; i++) {
      if (i === 10) go(peer); // the first ones time out for sure
      moved += unlessTimeout(() => near.readSync(buffer)) ?? 0;
      buffer.fill(7);
      near.setReadDeadline(1);
    }
    expect(near.bytesRead).toBe(moved);
    near.close();
    expect((await peer.next<Discarded>()).ended).toMatch(/^(ECONNRESET|EPIPE)$/);
  });

  nettest("RacyWrite: of 1,000 writes under a deadline that rolls on, each succeeds or times out", async () => {
    const { near, peer } = await connectedTo(keep, kind, "discard");
    go(peer);
    near.setWriteDeadline(1);
    let moved = 0;
    const buffer = new Uint8Array(100_000);
    for (let i = 0; i < 1000; i++) {
      try {
        moved += near.writeSync(buffer);
      } catch (error) {
        if (!(error instanceof TimeoutError)) throw error;
        moved += error.bytesWritten!;
      }
      near.setWriteDeadline(1);
    }
    expect(near.bytesWritten).toBe(moved);
    near.close();
    expect(await peer.next<Discarded>()).toMatchObject({ length: moved, ended: "end" });
  });

  nettest("ReadTimeout: an expired read deadline fails the read, and a write goes on", async () => {
    const { near, peer } = await connectedTo(keep, kind, "discard");
    go(peer);
    near.setReadDeadline(LONG_AGO);
    timedOut(() => near.readSync(new Uint8Array(1024)));
    expect(near.writeSync(new Uint8Array(1024), limits)).toBe(1024);
    near.close();
    expect((await peer.next<Discarded>()).length).toBe(1024);
  });

  nettest("WriteTimeout: an expired write deadline fails the write, and a read goes on", async () => {
    const { near, peer } = await connectedTo(keep, kind, "source");
    go(peer);
    near.setWriteDeadline(LONG_AGO);
    timedOut(() => near.writeSync(new Uint8Array(1024)));
    expect(near.readSync(new Uint8Array(1024), limits)).toBeGreaterThan(0);
  });

  nettest("PastTimeout: past a deadline nothing is read or written, and once it is cleared all works", async () => {
    const { near, peer } = await connectedTo(keep, kind, "echo");
    go(peer);
    roundTrip(near);
    near.setDeadline(LONG_AGO);
    expect(timedOut(() => near.writeSync(new Uint8Array(1024))).bytesWritten).toBe(0);
    timedOut(() => near.readSync(new Uint8Array(1024)));
    expect([near.bytesRead, near.bytesWritten]).toEqual([2000, 2000]);
    roundTrip(near);
  });

  nettest("PresentTimeout: a cancel that comes while a read or a write blocks ends it, not before", async () => {
    const { near, peer } = await connectedTo(keep, kind, "echo");
    const cancel = keep(new CancelSource());
    const interrupted = await cancelledByAnother(cancel, 2);
    interrupted(() => near.readSync(new Uint8Array(1024), { cancel }));
    expect(near.bytesRead).toBe(0);
    cancel.reset();
    const { bytesWritten } = interrupted(() => near.writeSync(HUGE, { cancel }));
    expect(near.bytesWritten).toBe(bytesWritten!);
    go(peer);
    resynchronize(near);
    roundTrip(near);
  });

  nettest("FutureTimeout: a deadline to come ends a read and a write, and once it is cleared all works", async () => {
    const { near, peer } = await connectedTo(keep, kind, "echo");
    for (const operation of [() => near.readSync(new Uint8Array(1)), () => near.writeSync(HUGE)]) {
      const begin = monotonic();
      near.setDeadline(100);
      timedOut(operation);
      expect(monotonic() - begin).toBeGreaterThanOrEqual(100);
    }
    go(peer);
    resynchronize(near);
    roundTrip(near);
  });

  nettest("CloseTimeout: a cancel of the socket's own source ends a read and a write; then it is closed", async () => {
    const { near, peer } = await connectedTo(keep, kind, "echo");
    const interrupted = await cancelledByAnother(near.cancelSource, 2);
    interrupted(() => near.readSync(new Uint8Array(1024)));
    near.cancelSource.reset();
    interrupted(() => near.writeSync(HUGE));
    near.close();
    expect(thrown(() => near.readSync(new Uint8Array(1024)))).toBeInstanceOf(ClosedError);
    expect(thrown(() => near.writeSync("x"))).toBeInstanceOf(ClosedError);
    go(peer);
    expect((await peer.next<Discarded>()).ended).toMatch(/^(end|ECONNRESET|EPIPE)$/);
  });

  nettest("ConcurrentMethods: 100 of each method in any order do each other no harm", async () => {
    const { near, peer } = await connectedTo(keep, kind, "echo");
    go(peer);
    const { localAddress, remoteAddress } = near;
    const methods = [
      () => near.readSync(new Uint8Array(1024)),
      () => near.writeSync(new Uint8Array(1024)),
      () => near.setDeadline(10),
      () => near.setReadDeadline(10),
      () => near.setWriteDeadline(10),
      () => expect(near.localAddress).toEqual(localAddress),
      () => expect(near.remoteAddress).toEqual(remoteAddress),
    ];
    near.setDeadline(10); // whichever comes first
    for (let i = 0; i < 100; i++) {
      for (let first = i, j = 0; j < methods.length; j++) unlessTimeout(methods[(first + j * 3) % methods.length]!);
    }
    resynchronize(near);
    roundTrip(near);
  });
}
