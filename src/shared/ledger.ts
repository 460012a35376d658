/**
 * Which thread owns which descriptor, and where the things are that threads share: one table a process, in shared
 * memory. A Worker that is terminated closes nothing (measured: every descriptor stays, its clients hang); whoever sees
 * its end finds here what to close.
 *
 * It reaches later Workers by the environment data, and travels with every handle. Two threads that never met may have
 * one each: where two meet, both remember both, and go on with the one of the lower id.
 */
import { getEnvironmentData, setEnvironmentData, threadId } from "node:worker_threads";
import { close } from "../../ffi/fd.ts";

/** Descriptors above these are used and not recorded. fs.nr_open's default; untouched pages cost nothing. */
const FDS = 1 << 20;
const THREADS = 1 << 16;
const SHARED = 1 << 18;

const MAGIC = 0x6c_65_64_67;
// In words.
const MAGIC_WORD = 0;
const ID = 1;
/** The last ticket given out. */
const TICKET = 2;
/** The highest descriptor, and the highest shared entry, ever recorded, plus one: what a scan has to look at. */
const FDS_USED = 3;
const SHARED_USED = 4;
/** By thread: the thread that started it, plus one. */
const PARENT = 16;
/** By descriptor: 0, its owner plus one, or the negative ticket of a socket that was detached. */
const OWNER = PARENT + THREADS;
/** By descriptor: the thread that detached it, plus one. */
const DETACHED_BY = OWNER + FDS;
/** By descriptor: the ticket that it was taken with, while what came with it is not. */
const TAKEN = DETACHED_BY + FDS;
/** By key: ticket (0: free; -1: being written), and the address of the memory in two words. */
const ENTRY = TAKEN + FDS;
const ENTRY_WORDS = 4;
const LENGTH = ENTRY + SHARED * ENTRY_WORDS;

/** A forged one that is no 31-bit integer would be cut to some other number, an owner's perhaps. */
function isTicket(ticket: number): boolean {
  return Number.isInteger(ticket) && ticket > 0 && ticket <= 0x7fff_ffff;
}

const ENVIRONMENT = "cancelfd.ledger";
const me = threadId + 1;

export class Ledger {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  private constructor(memory: SharedArrayBuffer) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  static create(): Ledger {
    const ledger = new Ledger(new SharedArrayBuffer(LENGTH * 4));
    ledger.#words[MAGIC_WORD] = MAGIC;
    ledger.#words[ID] = threadId;
    // So that no two ledgers of a process give out the same tickets.
    ledger.#words[TICKET] = Math.floor(Math.random() * 0x3fff_ffff) + 1;
    return ledger;
  }

  /** Null if the memory is not a ledger's. */
  static attach(memory: unknown): Ledger | null {
    if (!(memory instanceof SharedArrayBuffer) || memory.byteLength !== LENGTH * 4) return null;
    const ledger = new Ledger(memory);
    return ledger.#words[MAGIC_WORD] === MAGIC ? ledger : null;
  }

  /** The thread that made it: no thread makes two. */
  get id(): number {
    return this.#words[ID]!;
  }

  #ticket(): number {
    for (;;) {
      const ticket = Atomics.add(this.#words, TICKET, 1) + 1;
      if (ticket > 0) return ticket;
      Atomics.compareExchange(this.#words, TICKET, ticket, 1);
    }
  }

  #raise(word: number, least: number): void {
    for (let used = Atomics.load(this.#words, word); used < least; ) {
      used = Atomics.compareExchange(this.#words, word, used, least);
    }
  }

  /** This thread owns `fd`. */
  own(fd: number): void {
    if (fd >= FDS) return;
    this.#raise(FDS_USED, fd + 1);
    Atomics.store(this.#words, OWNER + fd, me);
  }

  /** Nobody does: before it is closed, so that a sweep never closes a number that is a stranger's by then. */
  disown(fd: number): void {
    if (fd < FDS) Atomics.store(this.#words, OWNER + fd, 0);
  }

  /** Offers `fd` to whoever has the ticket; until it is taken, this thread counts as its owner. */
  detach(fd: number): number {
    const ticket = this.#ticket();
    Atomics.store(this.#words, DETACHED_BY + fd, me);
    Atomics.store(this.#words, OWNER + fd, -ticket);
    return ticket;
  }

  /** Takes a detached descriptor. False: somebody has, it was closed, or there never was such a ticket. */
  adopt(fd: number, ticket: number): boolean {
    if (!Number.isInteger(fd) || fd < 0 || fd >= FDS || !isTicket(ticket)) return false;
    if (Atomics.load(this.#words, OWNER + fd) !== -ticket) return false;
    Atomics.store(this.#words, TAKEN + fd, ticket); // before: a thread that dies in between leaves a trace
    return Atomics.compareExchange(this.#words, OWNER + fd, -ticket, me) === -ticket;
  }

  /** All that came with a detached descriptor is taken. */
  settle(fd: number): void {
    if (fd < FDS) Atomics.store(this.#words, TAKEN + fd, 0);
  }

  /** Records shared memory; its key, and the ticket that a handle has to show. */
  enter(address: number): { key: number; ticket: number } {
    const ticket = this.#ticket();
    for (let key = 0; key < SHARED; key++) {
      this.#raise(SHARED_USED, key + 1);
      const entry = ENTRY + key * ENTRY_WORDS;
      if (Atomics.compareExchange(this.#words, entry, 0, -1) !== 0) continue;
      this.#words[entry + 1] = (address % 0x1_0000_0000) | 0;
      this.#words[entry + 2] = Math.floor(address / 0x1_0000_0000);
      Atomics.store(this.#words, entry, ticket);
      return { key, ticket };
    }
    throw new RangeError(
      `more than ${SHARED} sources and listeners are shared at once; dispose those no longer needed`,
    );
  }

  remove(key: number): void {
    Atomics.store(this.#words, ENTRY + key * ENTRY_WORDS, 0);
  }

  /** The address behind a key; 0 if the ticket is not (any more) the one. */
  find(key: number, ticket: number): number {
    if (!Number.isInteger(key) || key < 0 || key >= SHARED || !isTicket(ticket)) return 0;
    const entry = ENTRY + key * ENTRY_WORDS;
    if (Atomics.load(this.#words, entry) !== ticket) return 0;
    return this.#words[entry + 2]! * 0x1_0000_0000 + (this.#words[entry + 1]! >>> 0);
  }

  /** The addresses of all that is shared now. */
  *shared(): Generator<number> {
    for (let key = 0; key < Atomics.load(this.#words, SHARED_USED); key++) {
      const address = this.find(key, Atomics.load(this.#words, ENTRY + key * ENTRY_WORDS));
      if (address !== 0) yield address;
    }
  }

  startedBy(parent: number): void {
    if (threadId < THREADS) this.#words[PARENT + threadId] = parent + 1;
  }

  /** `thread`, and the threads that it started, and theirs: they end with it. */
  family(thread: number): Set<number> {
    const family = new Set([thread]);
    // A thread's id is greater than its parent's.
    for (let id = thread + 1; id < THREADS; id++) {
      const parent = this.#words[PARENT + id]!;
      if (parent !== 0 && family.has(parent - 1)) family.add(id);
    }
    return family;
  }

  /** Closes what threads that have ended owned; the tickets of what they had detached and nobody took, or taken by half. */
  closeOwned(ended: ReadonlySet<number>): number[] {
    const tickets: number[] = [];
    for (let fd = 0; fd < Atomics.load(this.#words, FDS_USED); fd++) {
      const owner = Atomics.load(this.#words, OWNER + fd);
      if (owner === 0 || !ended.has(owner > 0 ? owner - 1 : this.#words[DETACHED_BY + fd]! - 1)) continue;
      if (Atomics.compareExchange(this.#words, OWNER + fd, owner, 0) !== owner) continue;
      const taken = Atomics.exchange(this.#words, TAKEN + fd, 0);
      if (owner < 0) tickets.push(-owner);
      else if (taken !== 0) tickets.push(taken);
      close(fd);
    }
    return tickets;
  }

  /** This thread's descriptors go on in `other`. */
  moveTo(other: Ledger): void {
    for (let fd = 0; fd < Atomics.load(this.#words, FDS_USED); fd++) {
      if (Atomics.load(this.#words, OWNER + fd) !== me) continue;
      other.own(fd);
      this.disown(fd);
    }
  }
}

interface Inherited {
  memory: SharedArrayBuffer;
  thread: number;
}

const inherited = getEnvironmentData(ENVIRONMENT) as unknown as Inherited | undefined;
let current = Ledger.attach(inherited?.memory) ?? Ledger.create();
const known: Ledger[] = [current];
if (inherited !== undefined) current.startedBy(inherited.thread);
publish();

function publish(): void {
  // node's types want a cloneable value and do not count shared memory as one.
  setEnvironmentData(ENVIRONMENT, { memory: current.memory, thread: threadId } as never);
}

/** The ledger that this thread writes to. */
export function ledger(): Ledger {
  return current;
}

/** Every ledger that this thread has met. */
export function knownLedgers(): readonly Ledger[] {
  return known;
}

/** The ledger of a handle that arrived. Throws `TypeError` if its memory is no ledger's: a copy is not shared. */
export function meet(memory: unknown, what: string): Ledger {
  const arrived = Ledger.attach(memory);
  if (arrived === null) {
    throw new TypeError(
      `not the handle of a ${what}, or a copy of one; send its \`handle\` with postMessage, as other serializers copy its shared memory`,
    );
  }
  const met = known.find((one) => one.id === arrived.id); // one memory arrives as a new object each time
  if (met !== undefined) return met;
  known.push(arrived);
  if (arrived.id < current.id) {
    current.moveTo(arrived);
    current = arrived;
    publish();
  }
  return arrived;
}

/** Records a new descriptor as this thread's, and returns it. */
export function own(fd: number): number {
  current.own(fd);
  return fd;
}

/** Closes a descriptor that this thread owns. */
export function closeOwned(fd: number): void {
  current.disown(fd);
  close(fd);
}
