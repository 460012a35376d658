import { expect, test } from "bun:test";
import { CancelSource, listen } from "../src/index.ts";
import { BEGIN, ENTERED, LEFT, type RoundsJob } from "./bodies/rounds.ts";
import { passed, reach, spin } from "./gates.ts";
import { keeper } from "./setup.ts";
import { FLAGS, Thread } from "./thread.ts";

const keep = keeper();
const THREADS = [0, 1, 2, 3];
const ROUNDS = 2000;

/** Four threads that read, one socket each, under one source. */
async function readers(cancel: RoundsJob["cancel"]): Promise<{ threads: Thread[]; shared: Int32Array }> {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const shared = new Int32Array(new SharedArrayBuffer(FLAGS * 4));
  const { port } = listener.address;
  const threads = await Promise.all(
    THREADS.map((index) => Thread.start("rounds", "readRounds", { cancel, port, shared, index, rounds: ROUNDS })),
  );
  for (const _ of THREADS) keep(listener.acceptSync({ timeout: 20_000 }));
  return { threads, shared };
}

/** One round: whoever has entered it when `end` is called has to leave it, wherever it is between entry and sleep. */
function round(shared: Int32Array, number: number, end: () => void): void {
  reach(shared, BEGIN, number);
  for (const index of THREADS) passed(shared, ENTERED + index, number);
  spin((number % 8) * 5000); // from "at once" to "surely asleep by now"
  end();
  for (const index of THREADS) passed(shared, LEFT + index, number);
}

test("cancel, and reset at once: each of four blocked threads leaves in each of 2,000 rounds", async () => {
  const source = keep(new CancelSource());
  const { threads, shared } = await readers(source.handle);
  for (let number = 1; number <= ROUNDS; number++) {
    round(shared, number, () => {
      expect(source.cancel()).toBe(true);
      source.reset();
    });
  }
  for (const thread of threads) expect(await thread.next<string>()).toBe("done");
  for (const thread of threads) await thread.join();
}, 60_000);

test("the same with the cancel and the reset of a parent, and then of the child: 2,000 rounds", async () => {
  const parent = keep(new CancelSource());
  const child = keep(parent.child());
  const { threads, shared } = await readers(child.handle);
  for (let number = 1; number <= ROUNDS; number++) {
    round(shared, number, () => {
      expect(parent.cancel()).toBe(true);
      parent.reset();
      expect(child.cancelled).toBe(true);
      child.reset();
      expect(child.cancelled).toBe(false);
    });
  }
  for (const thread of threads) expect(await thread.next<string>()).toBe("done");
  for (const thread of threads) await thread.join();
}, 60_000);
