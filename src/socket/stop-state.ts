/**
 * How far the stop of a listener has come, in words that the threads of the listener share: which holds are marked as
 * stopping, whether the kernel has been told, and how long the queue has been quiet.
 *
 * Taking a hold and stopping race by Dekker's pattern, as taking and closing do: a taker is in its slot, unmarked, before
 * it reads STOPPED; whoever finds every hold marked writes STOPPED, and looks at the holds once more.
 */
import { SLOTS } from "../shared/holds.ts";

/** Bits: every hold is marked, and the kernel keeps new clients out. */
const STOPPED = 0;
const ALL_MARKED = 1;
const KEPT_OUT = 2;
/** The largest round-trip time of a client so far, in microseconds. */
const ROUND_TRIP = 1;
/** As a BigInt: the `monotonic()` time, in microseconds, since when nothing was taken by whoever stops. */
const QUIET = 2;
/** A bit a slot: its holder is stopping. */
const MARKS = 4;
const SLOTS_A_WORD = 32;

export const STOP_WORDS = MARKS + SLOTS / SLOTS_A_WORD;

export class StopState {
  readonly #words: Int32Array;
  readonly #quiet: BigInt64Array;

  /** `words`: `STOP_WORDS` of them, at a multiple of eight bytes; zeroed at the beginning. */
  constructor(words: Int32Array) {
    this.#words = words;
    this.#quiet = new BigInt64Array(words.buffer, words.byteOffset + QUIET * 4, 1);
  }

  static create(): StopState {
    return new StopState(new Int32Array(new ArrayBuffer(STOP_WORDS * 4)));
  }

  get stopped(): boolean {
    return (Atomics.load(this.#words, STOPPED) & ALL_MARKED) !== 0;
  }

  set stopped(stopped: boolean) {
    this.#set(ALL_MARKED, stopped);
  }

  /** Whether the kernel lets nobody in any more. */
  get keptOut(): boolean {
    return (Atomics.load(this.#words, STOPPED) & KEPT_OUT) !== 0;
  }

  set keptOut(keptOut: boolean) {
    this.#set(KEPT_OUT, keptOut);
  }

  #set(bit: number, on: boolean): void {
    if (on) Atomics.or(this.#words, STOPPED, bit);
    else Atomics.and(this.#words, STOPPED, ~bit);
  }

  /** Microseconds. */
  get roundTrip(): number {
    return Atomics.load(this.#words, ROUND_TRIP);
  }

  noteRoundTrip(microseconds: number): void {
    for (let most = this.roundTrip; most < microseconds; ) {
      const found = Atomics.compareExchange(this.#words, ROUND_TRIP, most, microseconds);
      if (found === most) return;
      most = found;
    }
  }

  /** A `monotonic()` time. */
  get quietSince(): number {
    return Number(Atomics.load(this.#quiet, 0)) / 1000;
  }

  /** Another thread may have noted a later moment: the latest counts. */
  noteNoise(now: number): void {
    const at = BigInt(Math.ceil(now * 1000));
    for (let latest = Atomics.load(this.#quiet, 0); latest < at; ) {
      const found = Atomics.compareExchange(this.#quiet, 0, latest, at);
      if (found === latest) return;
      latest = found;
    }
  }

  mark(slot: number): void {
    Atomics.or(this.#words, MARKS + Math.floor(slot / SLOTS_A_WORD), 1 << (slot % SLOTS_A_WORD));
  }

  /** The slot has a new holder, which knows nothing of what the one before it did. */
  unmark(slot: number): void {
    Atomics.and(this.#words, MARKS + Math.floor(slot / SLOTS_A_WORD), ~(1 << (slot % SLOTS_A_WORD)));
  }

  isMarked(slot: number): boolean {
    return (Atomics.load(this.#words, MARKS + Math.floor(slot / SLOTS_A_WORD)) & (1 << (slot % SLOTS_A_WORD))) !== 0;
  }
}
