/** Whatever comes just before any system call that a blocking operation makes is seen: none sleeps through it. */
import { expect, test } from "bun:test";
import { monotonic } from "../ffi/index.ts";
import {
  CancelledError,
  CancelSource,
  connectSync,
  listen,
  Poller,
  TimeoutError,
  type WaitOptions,
  WakeQueue,
} from "../src/index.ts";
import { aroundEveryCall, maySleep } from "./hooks.ts";
import { blackHole, keeper, pair, temporaryDirectory } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();
/** Milliseconds; who sleeps through its cancel sleeps that long. */
const TIMEOUT = 2000;

type Operation = (options: WaitOptions) => unknown;

/** Each makes what the operation needs, so that it never ends by itself. */
const operations: Record<string, () => Operation> = {
  read: () => {
    const { client } = pair(keep);
    return (options) => client.readSync(new Uint8Array(1), options);
  },
  write: () => {
    const { client } = pair(keep);
    const bytes = new Uint8Array(16 << 20);
    return (options) => client.writeSync(bytes, options);
  },
  accept: () => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    return (options) => listener.acceptSync(options);
  },
  connect: () => {
    const { port } = blackHole(keep);
    return (options) => connectSync({ hostname: "127.0.0.1", port, ...options });
  },
  "connect by name": () => {
    const { port } = blackHole(keep);
    return (options) => connectSync({ hostname: "localhost", port, ...options });
  },
  "connect to a Unix socket with a full backlog": () => {
    const path = `${keep(temporaryDirectory()).path}/full`;
    keep(listen({ path, backlog: 0 }));
    keep(connectSync({ path }));
    return (options) => connectSync({ path, ...options });
  },
  "receive from a queue": () => {
    const queue = keep(new WakeQueue());
    return (options) => queue.receiveSync(options);
  },
  "send to a queue that is full": () => {
    const queue = fullQueue();
    return (options) => queue.sendSync("x", options);
  },
  "wait of a poller": () => {
    const poller = keep(new Poller());
    const { client, listener } = pair(keep);
    poller.add(client, { readable: true });
    poller.add(listener, { readable: true });
    poller.add(keep(new WakeQueue()), { readable: true });
    return (options) => poller.wait(options);
  },
};

/**
 * Calls `prepare` and what it returns again and again: `deed` comes before the first system call of `attempt`, the next
 * time before the second, and so on up to the one in which it sleeps.
 */
function beforeEachCall(prepare: () => { deed: () => unknown; attempt: (nth: number) => void }): void {
  for (let nth = 1, last = Number.POSITIVE_INFINITY; nth <= last; nth++) {
    const { deed, attempt } = prepare();
    let calls = 0;
    let done = false;
    const begin = monotonic();
    using _hook = aroundEveryCall((call, parameters) => {
      calls++;
      if (maySleep(call, parameters)) last = Math.min(last, calls);
      if (done || calls < Math.min(nth, last)) return;
      done = true; // and what it calls itself does not count
      deed();
    });
    attempt(nth);
    expect(monotonic() - begin).toBeLessThan(TIMEOUT);
  }
}

for (const [name, prepare] of Object.entries(operations)) {
  for (const doorbell of ["in the set already", "new to the set"]) {
    test(`${name}: a cancel before each system call up to its sleep, the doorbell ${doorbell}`, () => {
      beforeEachCall(() => {
        const operation = prepare();
        const cancel = keep(new CancelSource());
        void cancel.handle; // from now on it has a doorbell, as if it were another thread that cancels it
        if (doorbell === "in the set already") timesOut(() => operation({ cancel, timeout: 2 }));
        return {
          deed: () => cancel.cancel("enough"),
          attempt: (nth) => {
            const error = thrown(() => operation({ cancel, timeout: TIMEOUT }));
            expect([nth, error.name]).toEqual([nth, "AbortError"]);
            expect(error).toBeInstanceOf(CancelledError);
          },
        };
      });
    });
  }
}

/** What ends a wait otherwise, and what it returns then. */
const wakes: Record<string, () => { operation: Operation; wake: () => unknown; result: unknown }> = {
  "a value, for receiveSync": () => {
    const queue = keep(new WakeQueue<string>());
    return { operation: (options) => queue.receiveSync(options), wake: () => queue.send("value"), result: "value" };
  },
  "room, for sendSync": () => {
    const queue = fullQueue();
    return { operation: (options) => queue.sendSync("x", options), wake: () => queue.receiveAll(), result: undefined };
  },
  "a value, for a poller": () => {
    const { poller, queue } = pollerOfQueue();
    return { operation: (options) => poller.wait(options).length, wake: () => queue.send("value"), result: 1 };
  },
  "a notify, for a poller": () => {
    const { poller } = pollerOfQueue();
    return { operation: (options) => poller.wait(options), wake: () => poller.notify(), result: [] };
  },
};

for (const [what, prepare] of Object.entries(wakes)) {
  for (const first of [true, false]) {
    test(`${what}: before each system call up to its sleep, ${first ? "its first" : "a later"} wait`, () => {
      beforeEachCall(() => {
        const { operation, wake, result } = prepare();
        if (!first) timesOut(() => operation({ timeout: 2 }));
        const attempt = (nth: number) => expect([nth, operation({ timeout: TIMEOUT })]).toEqual([nth, result]);
        return { deed: wake, attempt };
      });
    });
  }
}

function fullQueue(): WakeQueue<string> {
  const queue = keep(new WakeQueue<string>({ capacity: 64 }));
  while (queue.trySend("x")) {}
  return queue;
}

function pollerOfQueue(): { poller: Poller; queue: WakeQueue<string> } {
  const poller = keep(new Poller());
  const queue = keep(new WakeQueue<string>());
  poller.add(queue, { readable: true });
  return { poller, queue };
}

/** So does a poller's wait, which returns nothing then. */
function timesOut(operation: () => unknown): void {
  try {
    operation();
  } catch (error) {
    if (!(error instanceof TimeoutError)) throw error;
  }
}
