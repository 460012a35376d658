/**
 * All rings of a queue, as one thread sees them, and the order between them: a value whose `send` had returned before
 * another one's began is received first, whichever threads sent them.
 */
import type { Shared } from "../shared/holds.ts";
import { Ring } from "./ring.ts";

/** A slot's words: where its ring is. The lower half has the lowest bit set, which no address of memory has. */
const LOW = 0;
const HIGH = 1;
const ADDRESS_WORDS = 2;
const THERE = 1;
/** No ring, and there never will be one: the queue was closed before this sender's first value. */
const NEVER = 2;

export class Rings {
  readonly #shared: Shared;
  /** Where the slots' words begin. */
  readonly #at: number;
  readonly #size: number;
  /** By slot. */
  readonly #rings: (Ring | null)[] = [];
  /** By slot: how far the last look saw, and how far the one before it. */
  readonly #seen: number[] = [];
  readonly #settled: number[] = [];

  constructor(shared: Shared, at: number, size: number) {
    this.#shared = shared;
    this.#at = at;
    this.#size = size;
  }

  /** Those that there are now; null in the place of a slot that never sent. */
  look(): readonly (Ring | null)[] {
    const { used } = this.#shared;
    for (let slot = 0; slot < used; slot++) if (this.#rings[slot] == null) this.#find(slot);
    return this.#rings;
  }

  #find(slot: number): void {
    const ring = ringAt(this.#shared.payload, this.#at, slot, this.#size);
    this.#rings[slot] = ring;
    this.#seen[slot] = this.#settled[slot] = ring === null ? 0 : ring.head;
  }

  /** The ring of this thread's slot, made if it is the first to send from there. Null: the queue was sealed before. */
  own(): Ring | null {
    const { payload, slot } = this.#shared;
    const there = this.look()[slot];
    if (there != null) return there;
    const ring = Ring.create(this.#size);
    const word = this.#at + slot * ADDRESS_WORDS;
    Atomics.store(payload, word + HIGH, Math.floor(ring.address / 0x1_0000_0000));
    if (Atomics.compareExchange(payload, word + LOW, 0, ring.address | THERE) !== 0) {
      ring.free();
      return null;
    }
    this.#find(slot);
    return ring;
  }

  /** This thread begins to receive: what it saw before, another receiver may have taken. */
  begin(): void {
    for (const [slot, ring] of this.look().entries()) {
      if (ring !== null) this.#seen[slot] = this.#settled[slot] = ring.head;
    }
  }

  /** Bytes in all rings. */
  get used(): number {
    let bytes = 0;
    for (const ring of this.look()) if (ring !== null) bytes += ring.used;
    return bytes;
  }

  /**
   * The ring whose entry is next, or null if there is none. Only the receiver asks.
   *
   * An entry may be taken once another look at all rings, begun after it was seen, has found none before it in the
   * order: whatever was in before this one's place was drawn is there to be seen by then. What one look has settled is
   * handed out without a further one.
   */
  next(): Ring | null {
    for (let fresh = false; ; fresh = true) {
      let best: Ring | null = null;
      let order = 0;
      let settled = false;
      for (let slot = 0; slot < this.#rings.length; slot++) {
        const ring = this.#rings[slot]!;
        if (ring === null) continue;
        const { head } = ring;
        if (head === this.#seen[slot]) continue;
        const place = ring.orderAt(head);
        if (best !== null && ((place - order) | 0) >= 0) continue;
        best = ring;
        order = place;
        settled = head !== this.#settled[slot];
      }
      if (best === null ? fresh : settled) return best;
      this.#lookAgain();
    }
  }

  #lookAgain(): void {
    const rings = this.look();
    for (let slot = 0; slot < rings.length; slot++) {
      const ring = rings[slot]!;
      if (ring === null) continue;
      this.#settled[slot] = this.#seen[slot]!;
      this.#seen[slot] = ring.tail;
    }
  }

  /** From here on nothing comes in any more, and what is not in was not accepted. */
  seal(): void {
    const { payload, used } = this.#shared;
    for (let slot = 0; slot < used; slot++) {
      Atomics.compareExchange(payload, this.#at + slot * ADDRESS_WORDS + LOW, 0, NEVER);
    }
    for (const ring of this.look()) ring?.seal();
  }
}

/** The ring of a slot, if it has one. */
export function ringAt(payload: Int32Array, at: number, slot: number, size: number): Ring | null {
  const low = Atomics.load(payload, at + slot * ADDRESS_WORDS + LOW);
  if (low === 0 || low === NEVER) return null;
  const high = payload[at + slot * ADDRESS_WORDS + HIGH]!;
  return new Ring(high * 0x1_0000_0000 + ((low & ~THERE) >>> 0), size);
}

/** How many words the addresses of so many slots take. */
export function ringWords(slots: number): number {
  return slots * ADDRESS_WORDS;
}

/** Forgets the ring of a slot; before its memory is freed: should this thread die in between, it only leaks. */
export function forgetRing(payload: Int32Array, at: number, slot: number): void {
  Atomics.store(payload, at + slot * ADDRESS_WORDS + LOW, 0);
}
