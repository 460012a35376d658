/**
 * What wakes the waiters of a source, in every thread at once. Two implementations.
 *
 * An eventfd, registered edge-triggered and never drained: one ring wakes every selector that it stands in, a rung one
 * keeps none of them ready for ever, and `reset` reads nothing. Draining it there loses cancels: a waiter that was
 * woken but has not run yet finds it empty and sleeps on (53 % of 2,000 rounds; never drained: 0 of 80,000).
 *
 * Where there is none, pipes. A pipe cannot be rung twice without being drained, and poll(2) has no edges, so a pipe
 * serves one wait: the waiting thread opens it and puts the ends into its cell; ringing it is closing the write end,
 * which is for whoever claims the cell; and the thread closes the read end when its last wait is over. A claim has its
 * thread's name, so that whoever sees a thread end knows what it had begun.
 */

import { threadId } from "node:worker_threads";
import { monotonic } from "../../ffi/clock.ts";
import { drain, EventFd, ring } from "../../ffi/eventfd.ts";
import { close } from "../../ffi/fd.ts";
import { Pipe } from "../../ffi/pipe.ts";
import { constants } from "../../ffi/platform/index.ts";
import { eventsNow } from "../../ffi/poll.ts";
import { SystemError } from "../../ffi/system-error.ts";
import { usePoll } from "../backend.ts";
import { type Shared, SLOTS } from "./holds.ts";
import { closeOwned, ledger, own } from "./ledger.ts";
import { BELL, bellsAt } from "./state.ts";

const { POLLHUP, POLLIN } = constants;
/** In the word BELL: no eventfd, but a cell for each thread that holds the source. */
const PIPES = -1;
/** A cell: the write end and the read end, plus one each, and the thread that is closing the write end, plus one. */
const WRITE_END = 0;
const READ_END = 1;
const CLAIM = 2;
const CELL_WORDS = 3;
const me = threadId + 1;
let pipes = usePoll;

/** The doorbell of a source that is about to be shared. */
interface NewBell {
  /** What to put into the word BELL. */
  readonly word: number;
  /** The words that it needs in shared memory, beside those of the source. */
  readonly words: number;
  /** It is the holders' from now on, not this thread's. */
  share(): void;
  /** Nobody will hold it. */
  close(): void;
}

const pipeBell: NewBell = { word: PIPES, words: SLOTS * CELL_WORDS, share: () => {}, close: () => {} };

/**
 * Throws `SystemError` (`EMFILE`). An eventfd that the kernel does not want to give (EPERM in some sandboxes, ENOSYS)
 * means pipes from now on.
 */
export function openBell(): NewBell {
  if (pipes) return pipeBell;
  try {
    const word = own(new EventFd().fd);
    return { word, words: 0, share: () => ledger().disown(word), close: () => closeOwned(word) };
  } catch (error) {
    if (!(error instanceof SystemError) || (error.code !== "EPERM" && error.code !== "ENOSYS")) throw error;
    pipes = true;
    return pipeBell;
  }
}

export function claimBell(payload: Int32Array): void {
  if (payload[BELL] !== PIPES) own(payload[BELL]!);
}

export function closeBell(payload: Int32Array): void {
  if (payload[BELL] !== PIPES) closeOwned(payload[BELL]!);
}

function cellAt(payload: Int32Array, slot: number): number {
  return bellsAt(payload) + slot * CELL_WORDS;
}

/** Wakes every waiter of every thread. The caller has a hold, so the descriptors are the source's. */
export function ringBell({ payload, used }: Shared): void {
  const bell = payload[BELL]!;
  if (bell !== PIPES) {
    // Saturated, after 2^64 - 2 rings or by a stranger: the one case to drain, so that the next write is an edge again.
    while (!ring(bell)) drain(bell);
    return;
  }
  for (let slot = 0; slot < used; slot++) {
    const cell = cellAt(payload, slot);
    if (Atomics.load(payload, cell + WRITE_END) !== 0 && claim(payload, cell)) closeClaimed(payload, cell);
  }
}

/** False: another thread has it, and closes the write end, or has. */
function claim(payload: Int32Array, cell: number): boolean {
  return Atomics.compareExchange(payload, cell + CLAIM, 0, me) === 0;
}

/** Closes the write end of a cell that the caller has claimed, if there is one, and lets the cell go. */
function closeClaimed(payload: Int32Array, cell: number): void {
  const fd = Atomics.load(payload, cell + WRITE_END) - 1;
  if (fd >= 0) {
    close(fd);
    Atomics.store(payload, cell + WRITE_END, 0);
  }
  Atomics.store(payload, cell + CLAIM, 0);
}

/** A waiter of this thread: a descriptor to watch, which turns readable when the source is cancelled. */
export class Bell {
  readonly #shared: Shared;
  readonly #cell: number;
  #waits = 0;
  #readFd = -1;

  constructor(shared: Shared) {
    this.#shared = shared;
    this.#cell = cellAt(shared.payload, shared.slot);
  }

  /** True: `enter` and `leave` go around each wait, and the caller looks at the state in between. */
  get perWait(): boolean {
    return this.#shared.payload[BELL] === PIPES;
  }

  /** The descriptor to watch; -1 if there is none to be had now. Throws `SystemError` (`EMFILE`). */
  enter(): number {
    const { payload } = this.#shared;
    if (!this.perWait) return payload[BELL]!;
    if (this.#waits === 0) {
      if (!this.#cellIsFree()) return -1;
      const pipe = new Pipe();
      this.#readFd = own(pipe.readFd);
      Atomics.store(payload, this.#cell + READ_END, pipe.readFd + 1);
      // In no ledger: any thread may close it, and the cell tells whoever sweeps.
      Atomics.store(payload, this.#cell + WRITE_END, pipe.writeFd + 1);
    } else if (Atomics.load(payload, this.#cell + WRITE_END) === 0) {
      return -1; // rung for another wait of this thread, which has not noticed yet: it would end every sleep at once
    }
    this.#waits++;
    return this.#readFd;
  }

  /** Whoever rang the last pipe may still be at it. One that was terminated there keeps the cell until it is mended. */
  #cellIsFree(): boolean {
    const end = monotonic() + 100;
    while (Atomics.load(this.#shared.payload, this.#cell + CLAIM) !== 0) if (monotonic() > end) return false;
    return true;
  }

  leave(): void {
    if (!this.perWait || --this.#waits > 0) return;
    const { payload } = this.#shared;
    if (claim(payload, this.#cell)) {
      closeClaimed(payload, this.#cell);
    } else if (hasHungUp(this.#readFd)) {
      // Closed by whoever has the claim: who mends the cell, should that one be dead, must not close it again.
      Atomics.store(payload, this.#cell + WRITE_END, 0);
    }
    Atomics.store(payload, this.#cell + READ_END, 0);
    closeOwned(this.#readFd);
    this.#readFd = -1;
  }
}

/** Whether the write end of a pipe is closed. poll only: the number may be a stranger's by now, and a read would take from it. */
function hasHungUp(readFd: number): boolean {
  return (eventsNow(readFd, POLLIN) & POLLHUP) !== 0;
}

/**
 * After a thread's end and before its descriptors are closed: finishes the rings that it had begun, empties its own
 * cell, and if it died between marking the state and ringing, rings.
 */
export function mendBell(shared: Shared, thread: number, marked: boolean): void {
  const { payload } = shared;
  if (payload[BELL] === PIPES) {
    for (let slot = 0; slot < shared.used; slot++) {
      const cell = cellAt(payload, slot);
      if (Atomics.load(payload, cell + CLAIM) !== thread + 1) continue;
      const readEnd = Atomics.load(payload, cell + READ_END) - 1;
      if (readEnd >= 0 && hasHungUp(readEnd)) Atomics.store(payload, cell + WRITE_END, 0);
      closeClaimed(payload, cell);
    }
    // Its own cell: the read end goes with what it owned, the write end is in no list but this.
    const slot = shared.slotOf(thread);
    if (slot !== -1) {
      const cell = cellAt(payload, slot);
      Atomics.store(payload, cell + READ_END, 0);
      if (claim(payload, cell)) closeClaimed(payload, cell);
    }
  }
  if (marked) ringBell(shared);
}
