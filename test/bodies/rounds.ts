/** Threads that do the same operation over and over, in step with the test. */
import { type CancelHandle, CancelledError, CancelSource, connectSync } from "../../src/index.ts";
import { passed, reach } from "../gates.ts";
import { around } from "../hooks.ts";
import type { Context } from "../thread.ts";

/** Gates: the round that may begin; and, from these on, the one that thread `index` has entered, and has left. */
export const BEGIN = 1;
export const ENTERED = 8;
export const LEFT = 24;

export interface RoundsJob {
  cancel: CancelHandle;
  port: number;
  shared: Int32Array;
  index: number;
  rounds: number;
}

/** Reads once a round, and is cancelled in each; publishes that it has entered only once the operation has begun. */
export function readRounds({ say }: Context, { cancel, port, shared, index, rounds }: RoundsJob): void {
  using source = CancelSource.from(cancel);
  using socket = connectSync({ hostname: "127.0.0.1", port });
  const into = new Uint8Array(8);
  let round = 1;
  // The first try comes after the source's round was noted: what is published before would be a cancel too early.
  using _entry = around(
    ["recv"],
    () => {},
    () => reach(shared, ENTERED + index, round),
  );
  for (; round <= rounds; round++) {
    passed(shared, BEGIN, round); // before the reset of the last one, the read would be cancelled at entry
    try {
      socket.readSync(into, { cancel: source });
      throw new Error("it read, and nobody wrote");
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
    }
    reach(shared, LEFT + index, round);
  }
  say("done");
}
