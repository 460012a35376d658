/** What threads share of a queue: the layout, its end, and what is left to do for a thread that was terminated. */
import { claimDoorbell, closeDoorbell, ringDoorbell } from "../shared/drained-doorbell.ts";
import { defineKind, type Shared, SLOTS } from "../shared/holds.ts";
import type { Ring } from "./ring.ts";
import { forgetRing, ringAt, ringWords } from "./rings.ts";

declare const handleOf: unique symbol;

/** A queue on its way to another thread: post it, and call `WakeQueue.from` there. It holds nothing by itself. */
export interface QueueHandle {
  readonly [handleOf]: "WakeQueue";
}

// In words.
export const CLOSED = 0;
/** The thread that receives, plus one. */
export const RECEIVER = 1;
/** Not 0: the receiver sleeps, or is about to, for that time. */
export const SLEEP = 2;
/** Some sender may wait for room. */
export const SENDERS_WAIT = 3;
/** The last place in the order of all senders that was given out. */
export const ORDER = 4;
/** The receiver's doorbell: two words. */
export const BELL = 5;
export const CAPACITY = 7;
/** How often a receiver was about to sleep. */
export const SLEEPS = 8;
export const RINGS = 9;

export const QUEUE = defineKind({
  number: 4,
  name: "WakeQueue",
  claim: (payload) => {
    claimDoorbell(payload, BELL);
    for (const [, ring] of ringsIn(payload)) ring.claimRoom();
  },
  end: (payload) => {
    closeDoorbell(payload, BELL);
    for (const [slot, ring] of ringsIn(payload)) {
      ring.closeRoom();
      forgetRing(payload, RINGS, slot);
      ring.free();
    }
  },
  mend,
});

function* ringsIn(payload: Int32Array): Generator<[number, Ring]> {
  const size = ringSize(payload[CAPACITY]!);
  for (let slot = 0; slot < SLOTS; slot++) {
    const ring = ringAt(payload, RINGS, slot, size);
    if (ring !== null) yield [slot, ring];
  }
}

/** A power of two: positions go around at 2^31, and so must the ring. */
export function ringSize(capacity: number): number {
  return 2 ** Math.max(6, Math.ceil(Math.log2(capacity)));
}

/**
 * Does what a thread that was terminated may have been about to do: ring, after a value, a close, or a take that made
 * room. And if it received, somebody else can from now on.
 */
function mend(shared: Shared, thread: number): void {
  const { payload } = shared;
  Atomics.compareExchange(payload, RECEIVER, thread + 1, 0);
  ringDoorbell(payload, BELL);
  const slot = shared.slotOf(thread);
  for (const [number, ring] of ringsIn(payload)) {
    if (number === slot) {
      ring.needed = 0;
      ring.disownRoom(); // it may have died before it did so itself
    } else if (ring.needed !== 0) {
      ring.ringRoom();
    }
  }
}

/** How many words a queue has. */
export const QUEUE_WORDS = RINGS + ringWords(SLOTS);
