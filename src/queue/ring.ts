/**
 * The values of one sending thread on their way to the receiver: a ring of bytes in libc's memory.
 *
 * One ring a sender, not one for all: nobody waits for anybody, so a sender that is terminated, at whatever instant,
 * holds up nobody, and what it had not finished was never there: an entry exists from the one store on that moves the
 * tail behind it. The next thread in a dead one's place goes on from that tail.
 *
 * Positions count units of eight bytes, modulo 2^31. The tail's word has a bit beside it: sealed, nothing comes in any
 * more. Sealing and putting are both read-modify-writes of that word, so an entry is either in before the seal or was
 * not accepted.
 */
import { libc } from "../../ffi/libc.ts";
import { wordsAt } from "../../ffi/memory.ts";
import {
  claimDoorbell,
  closeDoorbell,
  disownDoorbell,
  doorbellFd,
  drainDoorbell,
  openDoorbell,
  ringDoorbell,
} from "../shared/drained-doorbell.ts";
import { decode, type Entry, type EntryType, NUMBER } from "./entry.ts";

// In words: what the sender writes and what the receiver writes, on cache lines of their own.
const TAIL = 0;
const HEAD = 16;
/** The bytes that the sender waits for; 0: it does not. */
const NEEDED = 17;
/** The doorbell that tells it: two words. */
const ROOM = 18;
const HEADER = 32;

const SEALED = 1;
const POSITION_SHIFT = 1;
const POSITIONS = 0x7fff_ffff;
const UNIT = 8;
/** In front of each entry: its length with its type in the upper bits, and its place in the order of all senders. */
const ENTRY_HEADER = 8;
const TYPE_SHIFT = 30;
const LENGTH = 0x3fff_ffff;

function sizeOf(length: number): number {
  return ENTRY_HEADER + Math.ceil(length / UNIT) * UNIT;
}

/** The bytes of a ring that an entry takes. */
export function entrySize({ bytes }: Entry): number {
  return sizeOf(bytes === null ? UNIT : bytes.byteLength);
}

/** For entries that go around the end; longer ones are rare enough for memory of their own. */
const scratch = new Uint8Array(new ArrayBuffer(1 << 16));

export class Ring {
  readonly address: number;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #doubles: Float64Array;
  readonly #mask: number;

  /** The ring at an address; `size` is a power of two, the same for all rings of a queue. */
  constructor(address: number, size: number) {
    this.address = address;
    this.#words = wordsAt(address, HEADER + size / 4);
    this.#bytes = new Uint8Array(this.#words.buffer, HEADER * 4, size);
    this.#doubles = new Float64Array(this.#words.buffer, HEADER * 4, size / 8);
    this.#mask = size / UNIT - 1;
  }

  /** Untouched pages cost nothing: a large ring is as cheap as what goes through it. */
  static create(size: number): Ring {
    const address = libc.calloc(1, HEADER * 4 + size);
    if (!address) throw new RangeError(`out of memory: a queue's ring of ${size} bytes`);
    return new Ring(address, size);
  }

  /** After its last use by any thread. */
  free(): void {
    libc.free(this.address);
  }

  get head(): number {
    return Atomics.load(this.#words, HEAD);
  }

  get tail(): number {
    return Atomics.load(this.#words, TAIL) >>> POSITION_SHIFT;
  }

  /** Bytes in use. */
  get used(): number {
    return ((this.tail - this.head) & POSITIONS) * UNIT;
  }

  /** For the sender, once there is room. False: the ring is sealed, and the entry is not in. */
  put(entry: Entry, order: number): boolean {
    const word = Atomics.load(this.#words, TAIL);
    if (word & SEALED) return false;
    const tail = word >>> POSITION_SHIFT;
    const { bytes } = entry;
    const length = bytes === null ? UNIT : bytes.byteLength;
    const at = tail & this.#mask;
    this.#words[HEADER + at * 2] = length | (entry.type << TYPE_SHIFT);
    this.#words[HEADER + at * 2 + 1] = order;
    if (bytes === null) this.#doubles[(at + 1) & this.#mask] = entry.number;
    else this.#copyIn(bytes, ((at + 1) & this.#mask) * UNIT);
    const next = (tail + sizeOf(length) / UNIT) & POSITIONS;
    // The one store that makes it an entry.
    return Atomics.compareExchange(this.#words, TAIL, word, next << POSITION_SHIFT) === word;
  }

  #copyIn(bytes: Uint8Array, start: number): void {
    const room = this.#bytes.length - start;
    if (bytes.byteLength <= room) {
      this.#bytes.set(bytes, start);
    } else {
      this.#bytes.set(bytes.subarray(0, room), start);
      this.#bytes.set(bytes.subarray(room), 0);
    }
  }

  seal(): void {
    Atomics.or(this.#words, TAIL, SEALED);
  }

  /** The place in the order of all senders of the entry at a position that is taken. */
  orderAt(position: number): number {
    return this.#words[HEADER + (position & this.#mask) * 2 + 1]!;
  }

  /** For the receiver, if there is an entry. */
  take(): unknown {
    const head = this.head;
    const at = head & this.#mask;
    const word = this.#words[HEADER + at * 2]!;
    const type = (word >>> TYPE_SHIFT) as EntryType;
    const length = word & LENGTH;
    try {
      if (type === NUMBER) return this.#doubles[(at + 1) & this.#mask];
      return decode(type, this.#view(((at + 1) & this.#mask) * UNIT, length));
    } finally {
      // The room is the sender's again only now: the value was read in place.
      Atomics.store(this.#words, HEAD, (head + sizeOf(length) / UNIT) & POSITIONS);
    }
  }

  #view(start: number, length: number): Uint8Array {
    const first = this.#bytes.length - start;
    if (length <= first) return this.#bytes.subarray(start, start + length);
    const unwound = length <= scratch.length ? scratch : new Uint8Array(length);
    unwound.set(this.#bytes.subarray(start), 0);
    unwound.set(this.#bytes.subarray(0, length - first), first);
    return unwound.subarray(0, length);
  }

  get needed(): number {
    return Atomics.load(this.#words, NEEDED);
  }

  set needed(bytes: number) {
    Atomics.store(this.#words, NEEDED, bytes);
  }

  /** What to listen to for room; -1: nobody has waited in this place yet. */
  get roomFd(): number {
    return doorbellFd(this.#words, ROOM);
  }

  openRoom(): void {
    openDoorbell(this.#words, ROOM);
  }

  ringRoom(): void {
    ringDoorbell(this.#words, ROOM);
  }

  drainRoom(): void {
    drainDoorbell(this.#words, ROOM);
  }

  claimRoom(): void {
    claimDoorbell(this.#words, ROOM);
  }

  disownRoom(): void {
    disownDoorbell(this.#words, ROOM);
  }

  closeRoom(): void {
    closeDoorbell(this.#words, ROOM);
  }
}
