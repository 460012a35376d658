/** One cancel, however many wait for it. */
import { expect, test } from "bun:test";
import { CancelSource, connectSync, listen, type TcpSocket } from "../../src/index.ts";
import { CANCEL, CANCELLED, type CancelJob } from "../bodies/reactor.ts";
import { reach } from "../gates.ts";
import { around, type Hook } from "../hooks.ts";
import { keeper } from "../setup.ts";
import { Thread, until } from "../thread.ts";

const keep = keeper();
const OPERATIONS = 10_000;
const onPoll = process.env.CANCELFD_BACKEND === "poll";
const nothing = () => {};

/** Both ends of so many connections; the clients come back. */
function connections(count: number): TcpSocket[] {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  return Array.from({ length: count }, () => {
    const client = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
    keep(listener.acceptSync({ timeout: 5000 }));
    return client;
  });
}

async function canceller(source: CancelSource, job: Partial<CancelJob> = {}): Promise<Thread> {
  const thread = await Thread.start("reactor", "cancelWhenTold", { cancel: source.handle, rounds: 1, ...job });
  expect(await thread.next<string>()).toBe("up");
  return thread;
}

const nameOf = (error: Error & { cause?: unknown }) => `${error.name}: ${String(error.cause)}`;
const outcomes = async (reads: Promise<unknown>[]) =>
  [...new Set(await Promise.all(reads.map((read) => read.then(() => "read something", nameOf))))].join();

function reads(sockets: TcpSocket[], cancel: CancelSource, count = OPERATIONS): Promise<number>[] {
  const into = new Uint8Array(8);
  return Array.from({ length: count }, (_, i) => sockets[i % sockets.length]!.read(into, { cancel }));
}

/** Counts how often `epoll_ctl` adds something: what is registered. */
function counting(): Hook & { added: number[] } {
  const added: number[] = [];
  const hook = around(["epoll_ctl"], (_, operation, fd) => void (operation === 1 && added.push(fd as number)), nothing);
  return Object.assign(keep(hook), { added });
}

for (const sockets of [1, 10, 1000]) {
  test(`one cancel of another thread settles 10,000 reads that wait on ${sockets} sockets`, async () => {
    const source = keep(new CancelSource());
    const thread = await canceller(source);
    const pending = outcomes(reads(connections(sockets), source));
    await Bun.sleep(1);
    reach(thread.flags, CANCEL);
    expect(await pending).toBe("AbortError: round 1");
    await thread.join();
  });

  test(`one cancel of this thread settles 10,000 reads that wait on ${sockets} sockets, all before anything else runs`, async () => {
    const source = keep(new CancelSource());
    let settled = 0;
    const pending = reads(connections(sockets), source);
    for (const read of pending) read.catch(() => settled++);
    await Bun.sleep(1);
    const reason = {};
    source.cancel(reason);
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled).toBe(OPERATIONS);
  });
}

test("the doorbell of a source is registered once, not once an operation, and a socket once, not once a wait", async () => {
  if (onPoll) return; // poll registers nothing in the kernel
  const sockets = connections(4);
  const source = keep(new CancelSource());
  const thread = await canceller(source, { rounds: 20, reset: true });
  const { added } = counting();
  for (let round = 1; round <= 20; round++) {
    const pending = outcomes(reads(sockets, source, 500));
    await Bun.sleep(1);
    reach(thread.flags, CANCEL, round);
    expect(await pending).toBe(`AbortError: round ${round}`);
    await until("the source to be armed again", () => Atomics.load(thread.flags, CANCELLED) === round);
  }
  for (const { fd } of sockets) expect(added.filter((one) => one === fd)).toEqual([fd]);
  expect(added.length).toBeLessThanOrEqual(sockets.length + 1); // and the one doorbell
  await thread.join();
});

test("a cancel of this thread, of a source that no other knows, makes no system call, whatever waits on it", async () => {
  const sockets = connections(4);
  const source = keep(new CancelSource());
  const pending = outcomes(reads(sockets, source, 1000));
  await Bun.sleep(1);
  let calls = 0;
  {
    using _count = around(
      ["write", "epoll_ctl", "epoll_wait", "poll", "close", "read", "recv"],
      () => calls++,
      nothing,
    );
    source.cancel("here");
  }
  expect(calls).toBe(0);
  expect(await pending).toBe("AbortError: here");
});

test("a source that is shared only while operations wait on it and on its descendants: a cancel of another thread settles all", async () => {
  const sockets = connections(3);
  const source = keep(new CancelSource());
  const child = keep(source.child());
  const grandchild = keep(child.child());
  const either = keep(CancelSource.any(new CancelSource(), child));
  const pending = [source, child, grandchild, either].map((one) => outcomes(reads(sockets, one, 100)));
  const aborted = new Promise((resolve) => grandchild.signal.addEventListener("abort", resolve));
  await Bun.sleep(1);
  const thread = await canceller(source);
  reach(thread.flags, CANCEL);
  for (const outcome of await Promise.all(pending)) expect(outcome).toBe("AbortError: round 1");
  await aborted;
  await thread.join();
});

test("so it is when a descendant is shared, which shares those above it: a cancel of the middle one spares what is above", async () => {
  const sockets = connections(2);
  const source = keep(new CancelSource());
  const child = keep(source.child());
  const grandchild = keep(child.child());
  const above = outcomes(reads(sockets, source, 100));
  const below = [child, grandchild].map((one) => outcomes(reads(sockets, one, 100)));
  await Bun.sleep(1);
  void grandchild.handle;
  const thread = await canceller(child);
  reach(thread.flags, CANCEL);
  for (const outcome of await Promise.all(below)) expect(outcome).toBe("AbortError: round 1");
  expect(source.cancelled).toBe(false);
  source.cancel("and now the rest");
  expect(await above).toBe("AbortError: and now the rest");
  await thread.join();
});

test("the source of a socket that is shared while operations wait on it: a cancel of another thread settles them", async () => {
  const [socket] = connections(1);
  const pending = outcomes(reads([socket!], keep(new CancelSource()), 100));
  await Bun.sleep(1);
  const thread = await canceller(socket!.cancelSource);
  reach(thread.flags, CANCEL);
  expect(await pending).toBe("AbortError: round 1");
  await thread.join();
});

test("10,000 sources with one read each, each is cancelled by its own alone", async () => {
  const sockets = connections(10);
  const sources = Array.from({ length: OPERATIONS }, () => keep(new CancelSource()));
  const into = new Uint8Array(8);
  let settled = 0;
  const pending = sources.map((cancel, i) =>
    sockets[i % sockets.length]!.read(into, { cancel }).catch((error: Error & { cause: unknown }) => {
      settled++;
      return error.cause;
    }),
  );
  await Bun.sleep(1);
  for (let i = 0; i < OPERATIONS; i += 2) sources[i]!.cancel(i);
  await new Promise((resolve) => setImmediate(resolve));
  expect(settled).toBe(OPERATIONS / 2);
  for (let i = 1; i < OPERATIONS; i += 2) sources[i]!.cancel(i);
  expect(await Promise.all(pending)).toEqual(sources.map((_, i) => i));
});

test("operations that begin while a cancel settles others belong to the cancelled round, and fail at once", async () => {
  const [socket] = connections(1);
  const source = keep(new CancelSource());
  const thread = await canceller(source);
  const into = new Uint8Array(8);
  let after = 0;
  const pending = reads([socket!], source, 1000).map((read) =>
    read.catch(async () => {
      await socket!.read(into, { cancel: source }).catch(() => after++);
    }),
  );
  await Bun.sleep(1);
  reach(thread.flags, CANCEL);
  await Promise.all(pending);
  expect(after).toBe(1000);
  await thread.join();
});
