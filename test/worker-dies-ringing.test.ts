/** A thread that is terminated after it has marked a source, and before everybody who waits on it is awake. */
import { expect, test } from "bun:test";
import { close, F_DUPFD_CLOEXEC, fcntl } from "../ffi/index.ts";
import { CancelSource, listen, type TcpSocket } from "../src/index.ts";
import { GENEROUS, type ReadOutcome } from "./bodies/doorbells.ts";
import { BEGIN, DONE, GO_ON, HELD, PREPARED, type RingJob } from "./bodies/dying.ts";
import { reach } from "./gates.ts";
import { changes, changesSince, NONE, quietTable } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { fdTable, type Thread, until } from "./thread.ts";
import { start, Victim, workerClasses } from "./victim.ts";

const keep = keeper();
const pipes = process.env.CANCELFD_BACKEND === "poll";

/** Two threads that are blocked in a read with this source, and will read once more. */
async function waiters(source: CancelSource): Promise<{ threads: Thread[]; peers: TcpSocket[] }> {
  using listener = listen({ hostname: "127.0.0.1" });
  const job = { cancel: source.handle, port: listener.address.port };
  const threads = await Promise.all([0, 1].map(() => start(keep, "doorbells", "readRefused", job)));
  const peers = threads.map(() => keep(listener.acceptSync({ timeout: 20_000 })));
  for (const thread of threads) await thread.blocked();
  return { threads, peers };
}

const instants: [string, Omit<RingJob, "cancel">][] = pipes
  ? [
      ["before it closes the first waiter's pipe", { when: "before", ring: 1 }],
      ["after it closed the first waiter's pipe", { when: "after", ring: 1 }],
      ["before it closes the second waiter's pipe", { when: "before", ring: 2 }],
      ["after it closed the second waiter's pipe", { when: "after", ring: 2 }],
    ]
  : [
      ["before it writes to the eventfd", { when: "before", ring: 1 }],
      ["after it wrote to the eventfd", { when: "after", ring: 1 }],
    ];

for (const kind of workerClasses) {
  for (const [when, job] of instants) {
    test(`a ${kind} Worker that cancels is terminated ${when}: both waiters wake, and the source works on`, async () => {
      const before = await quietTable();
      const source = keep(new CancelSource());
      const { threads, peers } = await waiters(source);
      const ringer = new Victim(kind, "dying", "cancelAndStop", { ...job, cancel: source.handle } satisfies RingJob);
      await until("it to be held up at the ring", () => Atomics.load(ringer.flags, HELD) === 1);
      expect(source.cancelled).toBe(true);
      await ringer.terminate();
      for (const thread of threads) {
        expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "by a thread that died" });
      }
      source.reset();
      for (const thread of threads) reach(thread.flags, GENEROUS);
      for (const thread of threads) await thread.blocked();
      expect(source.cancel("by one that lives")).toBe(true);
      for (const thread of threads) {
        expect(await thread.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "by one that lives" });
        await thread.join();
      }
      source.dispose();
      for (const peer of peers) peer.close();
      expect(await changesSince(before)).toEqual(NONE);
    });
  }
}

test("a waiter that is terminated in its sleep leaves nothing, and the next cancel wakes the other one", async () => {
  const before = await quietTable();
  const source = keep(new CancelSource());
  const { threads, peers } = await waiters(source);
  const [victim, other] = threads as [Thread, Thread];
  await victim.terminate();
  expect(source.cancel("for the other")).toBe(true);
  expect(await other.next<ReadOutcome>()).toMatchObject({ name: "AbortError", cause: "for the other" });
  reach(other.flags, GENEROUS);
  await other.join();
  source.dispose();
  for (const peer of peers) peer.close();
  expect(await changesSince(before)).toEqual(NONE);
});

test("a waiter is terminated while another thread rings it: wherever that one stands, it closes no stranger's descriptor", async () => {
  const wrong: string[] = [];
  for (let step = 0, held = true; held; step++) {
    const before = await quietTable();
    const source = keep(new CancelSource());
    const { threads, peers } = await waiters(source);
    const ringer = new Victim("node", "dying", "stepAndStop", {
      deed: "cancels a source",
      step,
      source: source.handle,
    });
    await until("it to be ready", () => Atomics.load(ringer.flags, PREPARED) === 1);
    const open = fdTable();
    reach(ringer.flags, BEGIN);
    await until("it to be held up", () => Atomics.load(ringer.flags, HELD) === 1);
    held = Atomics.load(ringer.flags, DONE) === 0;
    // Not on its way out of a wait: what it has taken out of the ledger and not closed yet would be left.
    for (const thread of threads) await thread.atRest();
    for (const thread of threads) await thread.terminate();
    // The numbers that are free now are a stranger's from here on.
    const { closed } = changes(open);
    const strangers = Object.keys(closed).map((fd) => fcntl(2, F_DUPFD_CLOEXEC, Number(fd)));
    reach(ringer.flags, GO_ON);
    await ringer.ended();
    const left = fdTable();
    for (const fd of strangers) {
      if (left[fd] === left[2]) close(fd);
      else wrong.push(`before access ${step}: it closed ${fd}`);
    }
    source.dispose();
    for (const peer of peers) peer.close();
    const { opened } = await changesSince(before);
    if (Object.keys(opened).length > 0) wrong.push(`before access ${step}: left open ${JSON.stringify(opened)}`);
    for (const fd of Object.keys(opened)) close(Number(fd));
  }
  expect(wrong).toEqual([]);
});
