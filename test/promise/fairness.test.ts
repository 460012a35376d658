/**
 * A socket whose operations always succeed at once keeps nobody else waiting. What counts is how many of its operations
 * come between a thing and its effect, never how long that takes; if they were not limited, there would be no end.
 */
import { expect, test } from "bun:test";
import { monotonic, POLLIN } from "../../ffi/index.ts";
import { CancelSource, connectSync, listen, type TcpSocket } from "../../src/index.ts";
import { CANCEL, CANCELLED, type CancelJob } from "../bodies/reactor.ts";
import { faults } from "../faults.ts";
import { waitFor } from "../fds.ts";
import { reach } from "../gates.ts";
import { around } from "../hooks.ts";
import { keeper, pair } from "../setup.ts";
import { Thread, until } from "../thread.ts";

const keep = keeper();
const replace = faults();
/** Operations of a flood that may come before something else has its turn: a turn of Bun's loop has some 500. */
const SOON = 20_000;
/** Where a flood that keeps everybody else waiting ends. */
const ENDLESS = 2_000_000;
const nothing = () => {};

/** Operations that each succeed at once. */
class Flood {
  operations = 0;
  #from = Number.POSITIVE_INFINITY;
  #over = false;

  /** What follows is awaited from here on. */
  begin(): void {
    this.#from = Math.min(this.#from, this.operations);
  }

  end(): void {
    this.#over = true;
  }

  /**
   * Goes on until `end`; how many there were since `begin`, none if it ended before. `look` runs between two operations,
   * in the same microtasks.
   */
  async run(operation: () => Promise<unknown>, look: () => void): Promise<number> {
    while (!this.#over) {
      if (this.operations++ === ENDLESS) throw new Error("nothing else has had its turn");
      look();
      await operation();
    }
    return Math.max(0, this.operations - this.#from);
  }
}

/** A socket from which every read gets a byte at once, and to which every write goes out at once. */
function endless(): { reads: () => Promise<number>; writes: () => Promise<number>; socket: TcpSocket } {
  const { client } = pair(keep);
  const { fd } = client;
  replace("recv", (recv) => (of, into, size, flags) => (of === fd ? 1 : recv(of, into, size, flags)));
  replace(
    "send",
    (send) => (of, data, size, flags) => (of === fd ? Math.min(Number(size), 65_536) : send(of, data, size, flags)),
  );
  const byte = new Uint8Array(1);
  return { socket: client, reads: () => client.read(byte), writes: () => client.write(byte) };
}

for (const kind of ["reads", "writes"] as const) {
  test(`${kind} that always succeed at once do not keep a timer waiting`, async () => {
    const operation = endless()[kind];
    const flood = new Flood();
    const due = monotonic() + 5;
    setTimeout(() => flood.end(), 5);
    // A timer of Bun's may be a millisecond late by itself.
    const between = await flood.run(operation, () => void (monotonic() > due + 2 && flood.begin()));
    expect(between).toBeLessThan(SOON);
  });

  test(`${kind} that always succeed at once do not keep a read of another socket waiting`, async () => {
    const operation = endless()[kind];
    const { client, server } = pair(keep);
    const flood = new Flood();
    const read = client.read(new Uint8Array(8)).finally(() => flood.end());
    const between = await flood.run(operation, () => {
      if (flood.operations !== 1000) return;
      server.writeSync("x");
      waitFor(client.fd, POLLIN);
      flood.begin();
    });
    expect(await read).toBe(1);
    expect(between).toBeLessThan(SOON);
  });

  test(`${kind} that always succeed at once do not keep a cancel of another thread waiting, nor its signal`, async () => {
    const operation = endless()[kind];
    const { client } = pair(keep);
    const source = keep(new CancelSource());
    const job: CancelJob = { cancel: source.handle, rounds: 1 };
    const thread = await Thread.start("reactor", "cancelWhenTold", job);
    await thread.next();
    const flood = new Flood();
    const aborted = new Promise((resolve) => source.signal.addEventListener("abort", resolve));
    const read = client.read(new Uint8Array(8), { cancel: source }).catch((error: Error) => error.name);
    void Promise.all([aborted, read]).then(() => flood.end());
    const between = await flood.run(operation, () => {
      if (flood.operations === 1000) reach(thread.flags, CANCEL);
      if (Atomics.load(thread.flags, CANCELLED) === 1) flood.begin();
    });
    expect(await read).toBe("AbortError");
    expect(between).toBeLessThan(SOON);
    await thread.join();
  });

  test(`${kind} that always succeed at once do not keep a deadline waiting`, async () => {
    const operation = endless()[kind];
    const { client } = pair(keep);
    const flood = new Flood();
    const due = monotonic() + 5;
    const read = client
      .read(new Uint8Array(8), { timeout: 5 })
      .catch((error: Error) => error.name)
      .finally(() => flood.end());
    const between = await flood.run(operation, () => void (monotonic() > due + 2 && flood.begin()));
    expect(await read).toBe("TimeoutError");
    expect(between).toBeLessThan(SOON);
  });
}

test("a flood does not keep the other direction of its own socket waiting", async () => {
  const { socket, reads } = endless();
  const flood = new Flood();
  let write: Promise<unknown> | undefined;
  await flood.run(reads, () => {
    if (flood.operations === 1000) write = socket.write(new Uint8Array(1 << 20)).then(() => flood.end());
  });
  await write;
});

test("two floods share: neither gets far ahead of the other", async () => {
  const { client: first, server } = pair(keep);
  const { client: second } = pair(keep);
  const fds = [first.fd, second.fd];
  replace("recv", (recv) => (of, into, size, flags) => (fds.includes(of) ? 1 : recv(of, into, size, flags)));
  const byte = new Uint8Array(1);
  const counts = [0, 0];
  let furthest = 0;
  await Promise.all(
    [first, second].map(async (socket, index) => {
      for (let i = 0; i < 50_000; i++) {
        await socket.read(byte);
        counts[index]!++;
        if (i < 49_000) furthest = Math.max(furthest, Math.abs(counts[0]! - counts[1]!));
      }
    }),
  );
  expect(furthest).toBeLessThan(1000);
  server.close();
});

test("a write of one huge buffer that the kernel always takes gives everybody else a turn every few pieces", async () => {
  const { socket } = endless();
  const { client, server } = pair(keep);
  let sent = 0;
  let sentAtLastTurn = 0;
  let most = 0;
  keep(around(["send"], (fd) => void (fd === socket.fd && sent++), nothing));
  let over = false;
  const turn = () => {
    most = Math.max(most, sent - sentAtLastTurn);
    sentAtLastTurn = sent;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  const read = client.read(new Uint8Array(8)).then((count) => ({ count, sent }));
  const data = new Uint8Array(64 << 20);
  const write = socket.write(data);
  server.writeSync("x");
  waitFor(client.fd, POLLIN);
  expect(await read).toEqual({ count: 1, sent: expect.any(Number) });
  expect((await read).sent).toBeLessThan(200); // of 1,024
  expect(await write).toBe(data.length);
  over = true;
  expect(sent).toBe(1024);
  expect(most).toBeLessThan(200);
});

test("a write of one huge buffer to a peer that reads as fast as it can can be cancelled on the way, by a timer and by a thread", async () => {
  for (const how of ["timer", "thread"] as const) {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const reader = await Thread.start("reactor", "readAsFastAsItCan", listener.address.port);
    const socket = keep(listener.acceptSync({ timeout: 20_000 }));
    const source = keep(new CancelSource());
    const thread = await Thread.start("reactor", "cancelWhenTold", { cancel: source.handle, rounds: 1 });
    await thread.next();
    const data = new Uint8Array(16 << 20);
    let written = 0;
    const writes = (async () => {
      // Far more than can be done by then; each goes on where the kernel has room.
      for (let i = 0; i < 10_000; i++) {
        await socket.write(data, { cancel: source });
        written += data.length;
      }
      return "all of it";
    })().catch((error: Error & { bytesWritten: number }) => {
      written += error.bytesWritten;
      return error.name;
    });
    await until("the write to be under way", () => socket.bytesWritten > 8 << 20);
    if (how === "timer") {
      setTimeout(() => source.cancel(), 1);
      expect(await writes).toBe("AbortError");
      reach(thread.flags, CANCEL);
    } else {
      reach(thread.flags, CANCEL);
      expect(await writes).toBe("AbortError");
    }
    expect(socket.bytesWritten).toBe(written);
    socket.closeWrite();
    expect(await reader.next<number>()).toBe(written);
    await Promise.all([reader.join(), thread.join()]);
  }
});

test("what succeeds at once on an idle thread is not held back: 31 in a row take no turn of the loop", async () => {
  const { reads } = endless();
  await reads();
  await new Promise((resolve) => setImmediate(resolve));
  let turns = 0;
  const immediate = setImmediate(() => turns++);
  for (let i = 0; i < 31; i++) await reads();
  expect(turns).toBe(0);
  clearImmediate(immediate);
});

test("an accept loop that never runs dry does not keep a timer waiting", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  for (let i = 0; i < 200; i++) keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
  let accepted = 0;
  let acceptedAtTurn = -1;
  setImmediate(() => {
    acceptedAtTurn = accepted;
  });
  for (; accepted < 200; accepted++) keep(await listener.accept());
  expect(acceptedAtTurn).toBeGreaterThanOrEqual(0);
  expect(acceptedAtTurn).toBeLessThan(200);
});
