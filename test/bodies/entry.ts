/** Operations with a source that another thread has cancelled. */
import { type CancelHandle, CancelSource } from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { operations, Ready, refused } from "../ready.ts";
import type { Context } from "../thread.ts";

/** What each operation does, by its name. */
export function refuseAll({ say }: Context, handle: CancelHandle): void {
  using source = CancelSource.from(handle);
  for (const operation of operations) say(refused(operation, { cancel: source }));
}

export const FIRST_DONE = 1;
export const CANCELLED = 2;
export const REFUSED = 3;
export const ARMED = 4;

/** Reads one time before the cancel, one time after it, and one time after the reset. */
export function readThrice({ say, flags }: Context, handle: CancelHandle): void {
  using source = CancelSource.from(handle);
  using ready = new Ready();
  say(ready.do("write", { cancel: source }));
  reach(flags, FIRST_DONE);
  passed(flags, CANCELLED);
  say(attempt(() => ready.do("read", { cancel: source })));
  reach(flags, REFUSED);
  passed(flags, ARMED);
  say(attempt(() => ready.do("read", { cancel: source })));
}

function attempt(operation: () => string): string {
  try {
    return operation();
  } catch (error) {
    return (error as Error).name;
  }
}

/** What a source that came from another thread says about itself. */
export interface Observed {
  cancelled: boolean;
  reason: unknown;
  again: boolean;
  name: string | undefined;
  cause: unknown;
}

export function observe({ say }: Context, handle: CancelHandle): void {
  using source = CancelSource.from(handle);
  const { cancelled, reason } = source;
  let error: Error | undefined;
  try {
    source.throwIfCancelled();
  } catch (thrown) {
    error = thrown as Error;
  }
  const observed: Observed = {
    cancelled,
    reason,
    again: source.cancel("too late"),
    name: error?.name,
    cause: error?.cause,
  };
  say(observed);
}

export const ROUND = 1;
/** The first of one gate a thread. */
export const READY = 8;
export const WON = 40;

/** Cancels in each round, at the same time as its kin; counts the rounds in which this call was the one that did. */
export function competeToCancel(
  { say }: Context,
  { cancel, shared, index, rounds }: { cancel: CancelHandle; shared: Int32Array; index: number; rounds: number },
): void {
  using source = CancelSource.from(cancel);
  for (let round = 1; round <= rounds; round++) {
    reach(shared, READY + index, round);
    passed(shared, ROUND, round);
    if (source.cancel(`thread ${index}`)) Atomics.add(shared, WON, 1);
    if (source.cancel("again")) Atomics.add(shared, WON, 1);
  }
  reach(shared, READY + index, rounds + 1);
  say("done");
}

export const STARTED = 1;
export const STOP = 2;

/** Looks at the reason until it is told to stop; says how often it saw one, and how often it was none that anybody gave. */
export function watchReasons(
  { flags, say }: Context,
  { cancel, given }: { cancel: CancelHandle; given: string[] },
): void {
  using source = CancelSource.from(cancel);
  let [found, strange] = [0, 0];
  reach(flags, STARTED);
  while (Atomics.load(flags, STOP) === 0) {
    const { reason } = source;
    if (typeof reason !== "string") continue;
    found++;
    if (!given.includes(reason)) strange++;
  }
  say({ strange, found });
}
