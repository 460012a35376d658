/**
 * Something that threads share, and who holds it: the last hold closes it, and nobody else does.
 *
 * A slot a thread, not a counter: a thread can be terminated between any two stores, and a slot tells whoever sees its
 * end which holds were its. Taking and closing race by Dekker's pattern: a taker writes its slot, then reads the life
 * word; a closer announces itself in the life word, then reads the slots.
 *
 * The memory is libc's and is used again, never freed: a thread that comes late with an old handle may look at it and
 * finds another life, and whoever sweeps after a dead thread reaches it although that thread's heap is gone.
 */
import { threadId } from "node:worker_threads";
import { libc } from "../../ffi/libc.ts";
import { wordsAt } from "../../ffi/memory.ts";
import { ClosedError } from "../errors.ts";
import { knownLedgers, type Ledger, ledger, meet } from "./ledger.ts";

/** Threads that may hold one thing at once: a Worker costs 1.5 MB, so memory runs out first. */
export const SLOTS = 1024;
const LIFE = 0;
/** The highest slot ever used, plus one: what a scan has to look at. */
const USED = 1;
const KIND = 2;
/** Which ledger has it, and where. */
const LEDGER = 3;
const KEY = 4;
/** The ledger of what is not published. */
const NOWHERE = -1;
/** How many words there are in all. */
const SIZE = 5;
/** The version that the present life began with. */
const BEGAN = 6;
const FIRST = 8;
const PAYLOAD = FIRST + SLOTS;

const OPEN = 0;
const CLOSING = 1;
const CLOSED = 2;
const STATE = 3;
/** The life word's version, above its state: a closer's commit fails if a taker called it off in between. */
const NEXT_VERSION = 4;
/** Above the state of what is closed: the thread that closes it, plus one. */
const CLOSER_SHIFT = 2;
/** How far the version of a life is from that of the one before it in the same memory. */
const NEXT_LIFE = 0x40000;

/** This thread, in a slot: 0 is a free one, and the main thread's id is 0. */
const me = threadId + 1;
/** Memory that is free to use again, by its size in words. */
const pool = new Map<number, number[]>();

/** What is shared, and how to end it: the ending runs in whichever thread gives back the last hold. */
export interface Kind {
  readonly number: number;
  readonly name: string;
  /** Makes this thread the owner of the descriptors, to close them. */
  claim(payload: Int32Array): void;
  /** Closes what the payload describes. */
  end(payload: Int32Array): void;
  /** A thread that held it has been terminated: finish what it may have begun. */
  mend(shared: Shared, thread: number): void;
}

/** By number: a sweep meets things that its own thread never used. */
const kinds = new Map<number, Kind>();
export function defineKind<K extends Kind>(kind: K): K {
  kinds.set(kind.number, kind);
  return kind;
}

/** The plain data of a handle. */
export interface SharedHandle {
  readonly kind: string;
  readonly ledger: SharedArrayBuffer;
  readonly key: number;
  readonly ticket: number;
}

export class Shared {
  readonly address: number;
  /** The words of what is shared, for its kind to lay out. */
  readonly payload: Int32Array;
  readonly #words: Int32Array;
  #slot = -1;

  private constructor(address: number, words: Int32Array) {
    this.address = address;
    this.#words = words;
    this.payload = words.subarray(PAYLOAD);
  }

  /** New memory, zeroed, that this thread holds. Nobody else finds it before `publish`. */
  static create(kind: Kind, payloadWords: number): Shared {
    let size = 256;
    while (size < payloadWords) size *= 2;
    size += PAYLOAD;
    const address = pool.get(size)?.pop() ?? libc.calloc(size, 4);
    if (!address) throw new RangeError("out of memory");
    const words = wordsAt(address, size);
    words.fill(0, PAYLOAD);
    words[KIND] = kind.number;
    words[SIZE] = size;
    words[LEDGER] = NOWHERE; // the key is that of an earlier life, and another thing's by now
    const shared = new Shared(address, words);
    shared.#slot = shared.#claim();
    words[BEGAN] = words[BEGAN]! + NEXT_LIFE;
    Atomics.store(words, LIFE, words[BEGAN]! | OPEN);
    return shared;
  }

  /** Lets others find it: what to put into the handle. */
  publish(): SharedHandle {
    const book = ledger();
    const { key, ticket } = book.enter(this.address);
    this.#words[KEY] = key;
    this.#words[LEDGER] = book.id;
    return { kind: this.kind!.name, ledger: book.memory, key, ticket };
  }

  /** The thing at an address that the ledger gave; no hold is taken. */
  static at(address: number): Shared {
    const header = wordsAt(address, PAYLOAD);
    return new Shared(address, wordsAt(address, Math.max(header[SIZE]!, PAYLOAD)));
  }

  /** Where a handle's thing is; the same for every thread. 0: it is closed. */
  static find(handle: SharedHandle, kind: Kind): number {
    return Shared.#book(handle, kind).find(handle.key, handle.ticket);
  }

  /** Takes a hold on a handle's thing. Throws `TypeError` for what is no handle, `ClosedError` if all have let go. */
  static take(handle: SharedHandle, kind: Kind): Shared {
    const book = Shared.#book(handle, kind);
    const address = book.find(handle.key, handle.ticket);
    if (address !== 0) {
      const shared = Shared.at(address);
      // Before a hold is taken: giving back one on a stranger's thing could be its end.
      if (shared.#words[KIND] === kind.number && shared.#take()) {
        // The memory may have begun another life between the two looks: only a ticket that is still good proves it is ours.
        if (book.find(handle.key, handle.ticket) === address && shared.#words[KIND] === kind.number) return shared;
        shared.#giveBack(shared.#slot);
      }
    }
    throw new ClosedError(`the ${kind.name} of this handle was closed by every thread that held it`);
  }

  static #book(handle: SharedHandle, kind: Kind): Ledger {
    const book = meet(handle?.ledger, kind.name);
    if (handle.kind !== kind.name) throw new TypeError(`this is the handle of a ${handle.kind}, not of a ${kind.name}`);
    return book;
  }

  #take(): boolean {
    const slot = this.#claim();
    for (;;) {
      const life = Atomics.load(this.#words, LIFE);
      if ((life & STATE) === OPEN) {
        this.#slot = slot;
        return true;
      }
      if ((life & STATE) === CLOSED) {
        // With all the care of a release: the memory may have begun another life since, whose last holder saw our slot.
        this.#giveBack(slot);
        return false;
      }
      // A closer is looking at the slots and may have passed ours: call it off.
      Atomics.compareExchange(this.#words, LIFE, life, (life & ~STATE) + NEXT_VERSION);
    }
  }

  /** The number of this thread's slot. */
  get slot(): number {
    return this.#slot - FIRST;
  }

  /** How many slots there are to look at. */
  get used(): number {
    return Atomics.load(this.#words, USED);
  }

  get kind(): Kind | undefined {
    return kinds.get(this.#words[KIND]!);
  }

  /** The numbers of the slots that are taken. */
  get slots(): number[] {
    const taken: number[] = [];
    for (let slot = 0; slot < this.used; slot++) if (Atomics.load(this.#words, FIRST + slot) !== 0) taken.push(slot);
    return taken;
  }

  /** The number of a thread's slot; -1 if it has no hold. */
  slotOf(thread: number): number {
    for (let slot = FIRST; slot < FIRST + this.used; slot++) {
      if (Atomics.load(this.#words, slot) === thread + 1) return slot - FIRST;
    }
    return -1;
  }

  /** A second hold, for whoever comes with the ticket: the thing is on its way to another thread. */
  holdFor(ticket: number): void {
    this.#claim(-ticket);
  }

  /** Gives back the hold of a thread: this one, or one that has ended. The last one ends the thing; true then. */
  release(thread: number = threadId): boolean {
    this.#vacate(thread + 1);
    return this.#settle(thread);
  }

  /** Gives back the hold of a ticket. */
  releaseFor(ticket: number): void {
    this.#vacate(-ticket);
    this.#settle(threadId);
  }

  #vacate(holder: number): void {
    for (let slot = FIRST; slot < FIRST + this.used; slot++) Atomics.compareExchange(this.#words, slot, holder, 0);
  }

  /** One slot, and not another that this thread may have by right. */
  #giveBack(slot: number): void {
    Atomics.store(this.#words, slot, 0);
    this.#settle(threadId);
  }

  /** Ends the thing if nobody holds it; true for the one that does. */
  #settle(holder: number): boolean {
    for (;;) {
      const life = Atomics.load(this.#words, LIFE);
      if ((life & STATE) === CLOSED) {
        // The dead thread was at it, and did not come to the end.
        if (holder === threadId || life >>> CLOSER_SHIFT !== holder + 1) return false;
        break;
      }
      if (this.#held()) return false;
      if ((life & STATE) === CLOSING) {
        if (Atomics.compareExchange(this.#words, LIFE, life, (me << CLOSER_SHIFT) | CLOSED) === life) break;
      } else {
        Atomics.compareExchange(this.#words, LIFE, life, life | CLOSING); // then look once more
      }
    }
    this.#end();
    return true;
  }

  #end(): void {
    const book = knownLedgers().find((one) => one.id === this.#words[LEDGER]);
    this.kind?.claim(this.payload); // before: should this thread die now, its descriptors are closed
    book?.remove(this.#words[KEY]!); // from here on the ticket is worth nothing
    this.kind?.end(this.payload);
    const size = this.#words[SIZE]!;
    const free = pool.get(size);
    if (free === undefined) pool.set(size, [this.address]);
    else free.push(this.address);
  }

  #claim(holder: number = me): number {
    for (let slot = FIRST; slot < FIRST + SLOTS; slot++) {
      // First, so that no scan stops short of a slot that is taken.
      for (let used = this.used; used < slot - FIRST + 1; ) {
        used = Atomics.compareExchange(this.#words, USED, used, slot - FIRST + 1);
      }
      if (Atomics.compareExchange(this.#words, slot, 0, holder) === 0) return slot;
    }
    throw new RangeError(`more than ${SLOTS} threads hold this; dispose it in those that no longer need it`);
  }

  #held(): boolean {
    for (let slot = FIRST; slot < FIRST + this.used; slot++) {
      if (Atomics.load(this.#words, slot) !== 0) return true;
    }
    return false;
  }
}
