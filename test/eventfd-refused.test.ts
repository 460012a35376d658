/** An eventfd that the kernel does not want to give, and a pipe for which there is no descriptor. */
import { expect, test } from "bun:test";
import { EMFILE, ENFILE, ENOSYS, EPERM, monotonic } from "../ffi/index.ts";
import { type CancelHandle, CancelledError, CancelSource, listen, type TcpSocket, TimeoutError } from "../src/index.ts";
import { GENEROUS, type ReadJob, type ReadOutcome, SLEEPS } from "./bodies/doorbells.ts";
import { failWith, faults } from "./faults.ts";
import { reach } from "./gates.ts";
import { aroundWaits } from "./hooks.ts";
import { changesSince, more, NONE, quietTable } from "./leaks.ts";
import { keeper, pair } from "./setup.ts";
import { type Thread, thrown } from "./thread.ts";
import { start } from "./victim.ts";

const keep = keeper();
const fault = faults();
const pipes = process.env.CANCELFD_BACKEND === "poll";

/** A thread that reads twice, refused what the job says in the first, and the peer of its socket. */
async function reader(job: Omit<ReadJob, "port">): Promise<{ thread: Thread; peer: TcpSocket }> {
  using listener = listen({ hostname: "127.0.0.1" });
  const thread = await start(keep, "doorbells", "readRefused", { ...job, port: listener.address.port });
  return { thread, peer: keep(listener.acceptSync({ timeout: 20_000 })) };
}

for (const [name, errno] of [
  ["EPERM", EPERM],
  ["ENOSYS", ENOSYS],
] as const) {
  test(`where eventfd is ${name} the doorbell is a pipe a wait: in the thread that made the source, and in the others`, async () => {
    const before = await quietTable();
    const maker = await reader({ eventfd: errno });
    const cancel = await maker.thread.next<CancelHandle>();
    const other = await reader({ cancel });
    await maker.thread.blocked();
    await other.thread.blocked();
    expect(more(before, "pipe:")).toBe(4);
    const source = keep(CancelSource.from(cancel));
    expect(source.cancel("one for all")).toBe(true);
    for (const { thread } of [maker, other]) {
      expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "one for all" });
    }
    source.reset();
    // The kernel is generous again; the source has its doorbell, and it still works.
    for (const { thread } of [maker, other]) reach(thread.flags, GENEROUS);
    for (const { thread } of [maker, other]) await thread.blocked();
    source.cancel("once more");
    for (const { thread, peer } of [maker, other]) {
      expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "once more" });
      await thread.join();
      peer.close();
    }
    source.dispose();
    expect(await changesSince(before)).toEqual(NONE);
  });

  test(`where eventfd is ${name} a child's doorbell is a pipe beside its parent's, and both wake the child's waiters`, async () => {
    const parent = keep(new CancelSource());
    const { handle } = parent; // made where eventfd works
    const maker = await reader({ eventfd: errno, parent: handle });
    const cancel = await maker.thread.next<CancelHandle>();
    const child = keep(CancelSource.from(cancel));
    const other = await reader({ cancel });
    for (const { thread } of [maker, other]) await thread.blocked();
    parent.cancel("the parent");
    for (const { thread } of [maker, other]) {
      expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "the parent" });
    }
    parent.reset();
    child.reset();
    for (const { thread } of [maker, other]) reach(thread.flags, GENEROUS);
    for (const { thread } of [maker, other]) await thread.blocked();
    child.cancel("the child");
    for (const { thread } of [maker, other]) {
      expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "the child" });
      await thread.join();
    }
    expect(parent.cancelled).toBe(false);
  });
}

if (!pipes) {
  for (const [name, errno] of [
    ["EMFILE", EMFILE],
    ["ENFILE", ENFILE],
  ] as const) {
    test(`where eventfd is ${name} the handle is an error that leaves nothing open, and is there once descriptors are free`, async () => {
      const before = await quietTable();
      const parent = new CancelSource();
      const child = parent.child();
      let left = 1; // enough for the parent's doorbell, and not for the child's
      fault("eventfd", (eventfd) => (initial, flags) => (left-- > 0 ? eventfd(initial, flags) : failWith(errno)));
      for (let time = 0; time < 3; time++) {
        const error = thrown(() => child.handle);
        expect(error).toMatchObject({ name: "SystemError", code: name, syscall: "eventfd" });
      }
      expect(more(before, "anon_inode:[eventfd]")).toBe(1);
      left = 1;
      const again = CancelSource.from(child.handle);
      expect(parent.cancel()).toBe(true);
      expect(again.cancelled).toBe(true);
      for (const source of [again, child, parent]) source.dispose();
      expect(await changesSince(before)).toEqual(NONE);
    });
  }
}

/** The refusals under which a wait has no descriptor for its pipe. */
const noPipe = { eventfd: EPERM, pipes: { errno: EMFILE, first: 0 } };
for (const [what, act, outcome] of [
  ["a cancel", (source: CancelSource) => source.cancel("seen"), { name: "AbortError", cause: "seen" }],
  [
    "a cancel and a reset",
    (source: CancelSource) => {
      source.cancel("seen");
      source.reset();
    },
    { name: "AbortError", cause: "seen" },
  ],
  ["data", (_: CancelSource, peer: TcpSocket) => peer.writeSync("data"), { text: "data" }],
] as const) {
  test(`a wait for whose pipe there is no descriptor still ends by ${what}, and the next one has its pipe`, async () => {
    const before = await quietTable();
    const { thread, peer } = await reader(noPipe);
    const cancel = await thread.next<CancelHandle>();
    const source = keep(CancelSource.from(cancel));
    await thread.blocked();
    expect(more(before, "pipe:")).toBe(0);
    act(source, peer);
    expect(await thread.next<ReadOutcome>()).toMatchObject(outcome);
    source.reset();
    reach(thread.flags, GENEROUS);
    await thread.blocked();
    expect(more(before, "pipe:")).toBe(2);
    source.cancel("by its pipe");
    expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "by its pipe" });
    await thread.join();
  });
}

test("a wait for whose pipe there is no descriptor keeps its deadline, and sleeps in between", async () => {
  const { thread, peer } = await reader({ ...noPipe, timeout: 500 });
  await thread.next<CancelHandle>();
  expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "TimeoutError" });
  expect(Atomics.load(thread.flags, SLEEPS)).toBeGreaterThan(2); // it looks up
  expect(Atomics.load(thread.flags, SLEEPS)).toBeLessThan(200); // and does not spin
  peer.close();
  reach(thread.flags, GENEROUS);
  expect(await thread.next<ReadOutcome>()).toEqual({ text: "" });
  await thread.join();
});

test("one pipe of two: a wait that gets the child's doorbell and not its parent's is woken by either", async () => {
  for (const which of ["parent", "child"] as const) {
    const { thread } = await reader({ eventfd: EPERM, pipes: { errno: EMFILE, first: 1 }, withParent: true });
    const parent = keep(CancelSource.from(await thread.next<CancelHandle>()));
    const child = keep(CancelSource.from(await thread.next<CancelHandle>()));
    await thread.blocked();
    (which === "parent" ? parent : child).cancel(which);
    expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: which });
    reach(thread.flags, GENEROUS);
    expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: which });
    await thread.join();
  }
});

if (!pipes) {
  test("a doorbell for which the epoll set has no room: the read looks up, and the next one has it in the set", () => {
    const { client } = pair(keep);
    const into = new Uint8Array(1);
    expect(thrown(() => client.readSync(into, { timeout: 1 }))).toBeInstanceOf(TimeoutError); // the socket is in the set
    const cancel = keep(new CancelSource());
    void cancel.handle;
    let full = true;
    const noRoom = 28; // ENOSPC, epoll_ctl(2)
    fault(
      "epoll_ctl",
      (real) =>
        (...parameters) =>
          full ? failWith(noRoom) : real(...parameters),
    );
    let waits = 0;
    using _hook = aroundWaits(
      () => ++waits === 3 && cancel.cancel(),
      () => {},
    );
    expect(thrown(() => client.readSync(into, { cancel }))).toBeInstanceOf(CancelledError);
    cancel.reset();
    full = false;
    waits = 2;
    const begin = monotonic();
    expect(thrown(() => client.readSync(into, { cancel, timeout: 1000 }))).toBeInstanceOf(CancelledError);
    expect(monotonic() - begin).toBeLessThan(1000);
  });
}
