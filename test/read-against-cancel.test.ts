import { expect, test } from "bun:test";
import { CancelSource, listen } from "../src/index.ts";
import {
  ASLEEP,
  BEGIN,
  BEGUN,
  CANCELLED,
  ENDED,
  ENDING,
  OUT,
  type RaceJob,
  READ,
  SENT,
  WOKEN_BY_CANCEL,
} from "./bodies/race.ts";
import { passed, reach, spin } from "./gates.ts";
import { keeper } from "./setup.ts";
import { Thread } from "./thread.ts";

const keep = keeper();
const ROUNDS = 100_000;

/**
 * In each round the peer sends a few bytes, and the read that waits for them is cancelled:
 * - in two rounds of five the data goes first, and the cancel follows after a pause that grows when the cancel won and
 *   shrinks when the read did, so that about half of them go either way, on any machine;
 * - in two the reader sleeps in the kernel, and the cancel goes first;
 * - in one the cancel goes first and at once, wherever the reader is between entry and sleep.
 */
test("no byte is lost and none comes twice when a read and its cancel race 100,000 times", async () => {
  const source = keep(new CancelSource());
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const job: RaceJob = { cancel: source.handle, port: listener.address.port, rounds: ROUNDS };
  const thread = await Thread.start("race", "readAgainstCancel", job);
  const { flags } = thread;
  const peer = keep(listener.acceptSync({ timeout: 20_000 }));

  let sent = 0;
  const send = () => {
    const bytes = Uint8Array.from({ length: 1 + (sent % 3) }, (_, i) => sent + i);
    peer.writeSync(bytes);
    sent += bytes.length;
    Atomics.store(flags, SENT, sent);
  };
  const seen = { read: 0, cancelled: 0, cancelledAsleep: 0 };
  /** Nanoseconds between data and cancel. */
  let pause = 10_000;
  for (let round = 1; round <= ROUNDS; round++) {
    const way = ["data first", "asleep", "data first", "asleep", "at once"][round % 5]!;
    reach(flags, BEGIN, round);
    if (way === "at once") {
      passed(flags, BEGUN, round);
      spin(Math.random() * 10_000);
      source.cancel();
      send();
    } else {
      passed(flags, ASLEEP, round);
      if (way === "asleep") {
        source.cancel();
        send();
      } else {
        send();
        spin(pause * (0.5 + Math.random()));
        source.cancel();
      }
    }
    passed(flags, ENDED, round);
    const ending = Atomics.load(flags, ENDING);
    if (ending === READ) seen.read++;
    if (ending === CANCELLED) {
      seen.cancelled++;
      seen.cancelledAsleep += Atomics.load(flags, WOKEN_BY_CANCEL);
    }
    if (way === "data first") pause = Math.min(200_000, Math.max(50, ending === READ ? pause * 0.95 : pause * 1.05));
    source.reset();
    reach(flags, OUT, round);
  }
  expect(await thread.next<string>()).toBe("done");
  await thread.join();
  expect(seen.read + seen.cancelled).toBe(ROUNDS);
  for (const rounds of Object.values(seen)) expect(rounds).toBeGreaterThan(ROUNDS / 20);
}, 300_000);
