/**
 * The state of a source, by words of memory that threads can share: layout and atomics.
 *
 * One word tells all: round << 3 | OFF | TIMED_OUT | CANCELLED. An operation notes the round at entry and is over when
 * the round is marked, or is another one, whatever came after. Rounds count modulo 2^29.
 *
 * A child notes the round of each parent, next to the child's own round: the child is over when a parent is in another
 * round than noted, or marked. A reset writes the notes of the next round first, each by compare-and-swap from this
 * round's (both halves at once), and then the word; so one that comes late, or dies half way, undoes nothing.
 */
import { threadId } from "node:worker_threads";
import { monotonic } from "../../ffi/clock.ts";

const STATE = 0;
/** The doorbell: see doorbell.ts. */
export const BELL = 1;
const PARENTS = 2;
/** A double: words 4 and 5. */
const DEADLINE = 4;
/** One note a parent, of two words: this source's round, and the parent's. Behind them, in shared memory only, the reasons of the last four rounds. */
const NOTES = 6;
const NOTE_WORDS = 2;
const REASON_SLOTS = 4;
const REASON_BYTES = 512;
const REASON_WORDS = 3 + REASON_BYTES / 4;
const WRITER = 0;
const ROUND = 1;
const LENGTH = 2;
const TEXT = 3;

const CANCELLED = 1;
/** How the last ended round ended. */
const TIMED_OUT = 2;
/** The timeout has no force any more: it is the first round's, and a reset of an armed source lifts it too. */
const OFF = 4;
const ROUND_SHIFT = 3;
const ROUND_MASK = 0x1fff_ffff;
const NO_ROUND = -1;

/** How a round ended, or that it did not. */
export type Ending = "cancelled" | "timed out" | null;

const encoder = new TextEncoder();

/** Where the doorbell has its own words: behind everything else. */
export function bellsAt(payload: Int32Array): number {
  return NOTES + payload[PARENTS]! * NOTE_WORDS + REASON_SLOTS * REASON_WORDS;
}

/** True if the present round of a source's words is marked. */
export function isMarked(payload: Int32Array): boolean {
  return (Atomics.load(payload, STATE) & CANCELLED) !== 0;
}

function endingOf(state: number): Exclude<Ending, null> {
  return state & TIMED_OUT ? "timed out" : "cancelled";
}

function roundOf(state: number): number {
  return (state >>> ROUND_SHIFT) & ROUND_MASK;
}

export class SourceState {
  #words: Int32Array;
  #shared: boolean;
  readonly parents: number;

  private constructor(words: Int32Array, parents: number, shared: boolean) {
    this.#words = words;
    this.parents = parents;
    this.#shared = shared;
  }

  /** Memory of this thread, until somebody wants to share it. */
  static create(parents: number, deadline: number): SourceState {
    const state = new SourceState(new Int32Array(NOTES + parents * NOTE_WORDS), parents, false);
    state.#words[PARENTS] = parents;
    state.#deadlineCell[0] = deadline;
    return state;
  }

  /** The words of a source that another thread shared. */
  static attach(payload: Int32Array): SourceState {
    return new SourceState(payload, payload[PARENTS]!, true);
  }

  /** How many words it takes to share it, the doorbell's not counted. */
  get size(): number {
    return NOTES + this.parents * NOTE_WORDS + REASON_SLOTS * REASON_WORDS;
  }

  /** From now on in memory that other threads can see. Before any of them does. */
  moveTo(payload: Int32Array): void {
    payload.set(this.#words);
    this.#words = payload;
    this.#shared = true;
    for (let round = 0; round < REASON_SLOTS; round++) payload[this.#slot(round) + ROUND] = NO_ROUND;
  }

  /** A copy of this thread's own: the shared memory may be another source's soon. */
  leave(): void {
    this.#words = this.#words.slice(0, NOTES + this.parents * NOTE_WORDS);
    this.#shared = false;
  }

  get #deadlineCell(): Float64Array {
    return new Float64Array(this.#words.buffer, this.#words.byteOffset + DEADLINE * 4, 1);
  }

  /** When the first round times out, as a `monotonic()` time. Never changes. */
  get deadline(): number {
    return this.#deadlineCell[0]!;
  }

  get round(): number {
    return roundOf(Atomics.load(this.#words, STATE));
  }

  /** True while the timeout can still end the round. */
  get timeoutRuns(): boolean {
    return (Atomics.load(this.#words, STATE) & (OFF | CANCELLED)) === 0;
  }

  /** How `round` ended, ancestors apart; null: it is the present one, and armed. */
  ending(round: number): Ending {
    const state = Atomics.load(this.#words, STATE);
    return (state & CANCELLED) === 0 && roundOf(state) === round ? null : endingOf(state);
  }

  /** True if `round` is the present one and was marked itself. */
  marked(round: number): boolean {
    const state = Atomics.load(this.#words, STATE);
    return (state & CANCELLED) !== 0 && roundOf(state) === round;
  }

  /**
   * How parent number `index` ended what this source noted of it; null: it did not. Compared with what this source is
   * at now: a note of another round than its own belongs to a reset that is under way, and so its round is over.
   */
  inherited(index: number, parent: SourceState): Ending {
    const at = NOTES + index * NOTE_WORDS;
    const note = Atomics.load(this.#words, at + 1);
    const state = Atomics.load(parent.#words, STATE);
    const armed = (state & CANCELLED) === 0 && roundOf(state) === note;
    // The own round last: a note that was replaced in between is one of a round that is over.
    return armed && Atomics.load(this.#words, at) === this.round ? null : endingOf(state);
  }

  /** Marks the present round as cancelled: that round, or -1 if it is marked already. */
  mark(): number {
    for (;;) {
      const state = Atomics.load(this.#words, STATE);
      if (state & CANCELLED) return NO_ROUND;
      const marked = (state & ~TIMED_OUT) | CANCELLED;
      if (Atomics.compareExchange(this.#words, STATE, state, marked) === state) return roundOf(state);
    }
  }

  /** Marks the present round as timed out, unless it is over or the timeout is off. */
  expire(): void {
    for (;;) {
      const state = Atomics.load(this.#words, STATE);
      if (state & (OFF | CANCELLED)) return;
      if (Atomics.compareExchange(this.#words, STATE, state, state | CANCELLED | TIMED_OUT) === state) return;
    }
  }

  /** Lifts the timeout of `round`, which is armed; false if it is not the present round, or marked by now. */
  lift(round: number): boolean {
    for (;;) {
      const state = Atomics.load(this.#words, STATE);
      if (roundOf(state) !== round || state & CANCELLED) return false;
      if (Atomics.compareExchange(this.#words, STATE, state, state | OFF) === state) return true;
    }
  }

  /** The round of parent number `index` when this source was armed. */
  noted(index: number): number {
    return Atomics.load(this.#words, NOTES + index * NOTE_WORDS + 1);
  }

  /** Notes the round of a parent for the round after `round`; false if another thread has done so. */
  noteFor(round: number, index: number, parent: SourceState): boolean {
    const { buffer, byteOffset } = this.#words;
    const note = new BigInt64Array(buffer, byteOffset + (NOTES + index * NOTE_WORDS) * 4, 1);
    const old = Atomics.load(note, 0);
    if (Number(old & 0xffff_ffffn) !== round) return false;
    const next = (BigInt(parent.round) << 32n) | BigInt((round + 1) & ROUND_MASK);
    return Atomics.compareExchange(note, 0, old, next) === old;
  }

  /** The first notes. */
  noteFirst(index: number, parent: SourceState): void {
    this.#words[NOTES + index * NOTE_WORDS + 1] = parent.round;
  }

  /** Opens the round after `round`, which is over; false if another thread has done so. */
  next(round: number, inherited: Ending): boolean {
    for (;;) {
      const state = Atomics.load(this.#words, STATE);
      if (roundOf(state) !== round) return false;
      const timedOut = state & CANCELLED ? state & TIMED_OUT : inherited === "timed out" ? TIMED_OUT : 0;
      const next = (((round + 1) & ROUND_MASK) << ROUND_SHIFT) | OFF | timedOut;
      if (Atomics.compareExchange(this.#words, STATE, state, next) === state) return true;
    }
  }

  /**
   * Publishes the reason of a round, for the other threads. One writer at a time: should one of four rounds before still
   * be at it (or have been terminated there), this round goes without. A reason is for people; the mark is what counts.
   */
  publishReason(round: number, reason: string | undefined): void {
    if (!this.#shared) return;
    const slot = this.#slot(round);
    if (Atomics.compareExchange(this.#words, slot + WRITER, 0, threadId + 1) !== 0) return;
    // Nobody takes a text for whole that is being written.
    Atomics.store(this.#words, slot + ROUND, NO_ROUND);
    // encodeInto never cuts a character in two.
    const length = reason === undefined ? -1 : encoder.encodeInto(reason, this.#text(slot)).written;
    Atomics.store(this.#words, slot + LENGTH, length);
    Atomics.store(this.#words, slot + ROUND, round);
    Atomics.store(this.#words, slot + WRITER, 0);
  }

  /** The reason that another thread gave for ending `round`. */
  readReason(round: number): string | undefined {
    if (!this.#shared) return undefined;
    const slot = this.#slot(round);
    // The mark comes before the reason: a thread that looks in between waits for the writer, but not for a dead one.
    const end = monotonic() + 5;
    while (Atomics.load(this.#words, slot + ROUND) !== round) {
      if (!this.marked(round) || monotonic() > end) return undefined;
    }
    const length = Atomics.load(this.#words, slot + LENGTH);
    const text = length < 0 ? undefined : new TextDecoder().decode(this.#text(slot).slice(0, length));
    return Atomics.load(this.#words, slot + ROUND) === round ? text : undefined;
  }

  #slot(round: number): number {
    return NOTES + this.parents * NOTE_WORDS + (round % REASON_SLOTS) * REASON_WORDS;
  }

  #text(slot: number): Uint8Array {
    return new Uint8Array(this.#words.buffer, this.#words.byteOffset + (slot + TEXT) * 4, REASON_BYTES);
  }
}
