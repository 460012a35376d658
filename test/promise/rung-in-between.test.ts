/**
 * A cancel of another thread that comes at the instant between an operation's look at its source and the doorbell that
 * is put up for it: with pipes nothing rings, as there is no pipe yet, so somebody has to look once more.
 */
import { expect, test } from "bun:test";
import { CancelSource, connect, TimeoutError } from "../../src/index.ts";
import { CANCEL, CANCELLED } from "../bodies/reactor.ts";
import { passed, reach } from "../gates.ts";
import { around, aroundEveryCall, aroundWaits } from "../hooks.ts";
import { keeper, pair, refusedPort } from "../setup.ts";
import { Thread, thrown, until } from "../thread.ts";
import { rejection } from "./outcome.ts";

const keep = keeper();
/** What puts up a doorbell: a pipe is made, or an eventfd goes into the epoll set. */
const puttingUp = process.env.CANCELFD_BACKEND === "poll" ? "pipe2" : "epoll_ctl";
const into = new Uint8Array(8);
const nothing = () => {};

/** A source that another thread cancels whenever it is told to, and arms again if there is another round. */
async function cancelledElsewhere(rounds: number): Promise<{
  source: CancelSource;
  thread: Thread;
  /** Lets that thread cancel, and returns once it has. */
  cancel: (round: number) => void;
}> {
  const source = keep(new CancelSource());
  const thread = await Thread.start("reactor", "cancelWhenTold", {
    cancel: source.handle,
    rounds,
    reset: rounds > 1,
  });
  await thread.next();
  const cancel = (round: number) => {
    reach(thread.flags, CANCEL, round);
    passed(thread.flags, CANCELLED, round);
  };
  return { source, thread, cancel };
}

/** Once, right before a doorbell is put up. */
function beforeNextDoorbell(run: () => void): { readonly ran: boolean } & Disposable {
  let ran = false;
  const hook = around(
    [puttingUp],
    () => {
      if (ran) return;
      ran = true;
      run();
    },
    nothing,
  );
  return {
    get ran() {
      return ran;
    },
    [Symbol.dispose]: () => hook[Symbol.dispose](),
  };
}

/** What it is rejected with. A timeout of its own would have it look once more, and hide what was lost. */
async function outcome(operation: Promise<unknown>): Promise<string> {
  const { promise: lost, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(resolve, 30_000, "nothing: the cancel is lost");
  const result = await Promise.race([rejection(operation).then(({ name }) => name), lost]);
  clearTimeout(timer);
  return result;
}

test("a read that waits is cancelled, though nobody rang after its doorbell was up", async () => {
  const { client } = pair(keep);
  const { source, thread, cancel } = await cancelledElsewhere(1);
  const hook = keep(beforeNextDoorbell(() => cancel(1)));
  expect(await outcome(client.read(into, { cancel: source }))).toBe("AbortError");
  expect(hook.ran).toBe(true);
  await thread.join();
});

test("a signal that is handed out for the first time aborts", async () => {
  const { source, thread, cancel } = await cancelledElsewhere(1);
  const hook = keep(beforeNextDoorbell(() => cancel(1)));
  const { signal } = source;
  await until("the signal to abort", () => signal.aborted);
  expect(signal.reason).toBe("round 1");
  expect(hook.ran).toBe(true);
  await thread.join();
});

test("a connect that has to wait for a lookup is cancelled, and nothing is looked up", async () => {
  const hostname = "somewhere.test";
  const { source, thread, cancel } = await cancelledElsewhere(1);
  const hook = keep(beforeNextDoorbell(() => cancel(1)));
  const port = refusedPort();
  let lookups = 0;
  const lookup = () => {
    lookups++;
    return new Promise<never>(nothing);
  };
  expect(await outcome(connect({ hostname, port, lookup, cancel: source }))).toBe("AbortError");
  expect(lookups).toBe(0);
  expect(hook.ran).toBe(true);
  await thread.join();
});

test("a read that began after a cancel, before that was noticed here, is ended by the next one, which comes while the doorbell is renewed", async () => {
  const { client } = pair(keep);
  const { client: other } = pair(keep);
  const { source, thread, cancel } = await cancelledElsewhere(2);
  const first = outcome(client.read(into, { cancel: source }));
  cancel(1);
  const second = outcome(other.read(into, { cancel: source }));
  const hook = puttingUp === "pipe2" ? keep(beforeNextDoorbell(() => cancel(2))) : null;
  if (hook === null) void first.then(() => cancel(2)); // an eventfd stays up
  expect(await first).toBe("AbortError");
  expect(await second).toBe("AbortError");
  if (hook !== null) expect(hook.ran).toBe(true);
  await thread.join();
});

test("a read is cancelled before whichever system call: from the one that finds nothing until this thread's loop sleeps", async () => {
  const { client } = pair(keep);
  const rounds = 40;
  const { source, thread, cancel } = await cancelledElsewhere(rounds);
  for (let round = 1; round <= rounds; round++) {
    let calls = 0;
    let rung = false;
    const ring = () => {
      if (!rung) cancel(round);
      rung = true;
    };
    using _hook = aroundEveryCall(() => ++calls === round && ring());
    const read = outcome(client.read(into, { cancel: source }));
    const asleep = setTimeout(ring, 20); // no more calls until something happens
    expect([round, await read]).toEqual([round, "AbortError"]);
    clearTimeout(asleep);
    ring(); // the round has to end before the next
  }
  await thread.join();
});

test("a blocking read does not spin on a doorbell that rang for a promise, which cannot have noticed yet", async () => {
  const { client, server } = pair(keep);
  const { source, thread, cancel } = await cancelledElsewhere(2);
  const pending = outcome(server.read(into, { cancel: source }));
  cancel(1); // and armed again
  let waits = 0;
  const hook = aroundWaits(() => waits++, nothing);
  expect(thrown(() => client.readSync(into, { cancel: source, timeout: 200 }))).toBeInstanceOf(TimeoutError);
  hook[Symbol.dispose]();
  expect(waits).toBeLessThan(100); // it may look up every 10 ms
  expect(await pending).toBe("AbortError");
  cancel(2);
  await thread.join();
});
