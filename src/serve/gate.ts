/**
 * Where a thread that has started goes through before it accepts for the first time, unless it was shut out: whoever is
 * through may have a client already, and nobody has heard of it yet.
 */
const OPEN = 0;
const PASSED = 1;
const SHUT = 2;

export class Gate {
  readonly word: Int32Array<ArrayBufferLike>;

  constructor(word: Int32Array<ArrayBufferLike>) {
    this.word = word;
  }

  /** For two threads. */
  static shared(): Gate {
    return new Gate(new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)));
  }

  /** For the next thread. */
  open(): void {
    Atomics.store(this.word, 0, OPEN);
  }

  /** False: it is shut. */
  pass(): boolean {
    return Atomics.compareExchange(this.word, 0, OPEN, PASSED) === OPEN;
  }

  /** False: the thread is through. */
  shut(): boolean {
    return Atomics.compareExchange(this.word, 0, OPEN, SHUT) !== PASSED;
  }
}
