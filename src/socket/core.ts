/** What operations work on, apart from the object that the user holds: descriptor, queues, deadlines, counters. */
import type { InetAddress } from "../../ffi/sockaddr.ts";
import type { CancelCore } from "../cancel/core.ts";
import type { CancelHandle } from "../cancel/handle.ts";
import { CancelSource, toCore } from "../cancel/source.ts";
import { BusyError, CancelledError, ClosedError } from "../errors.ts";
import { closedInTime, type Dropped } from "../shared/dropped.ts";
import { closeOwned, ledger } from "../shared/ledger.ts";
import type { BlockingTarget, PromiseTarget } from "../wait/attempt.ts";
import { Park } from "../wait/park.ts";
import { Queue, type QueueOwner } from "../wait/queue.ts";
import { reactor } from "../wait/reactor.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";
import type { Ready, Registration } from "../wait/registrations.ts";
import { toDeadline, type When } from "../when.ts";

const NEVER = Number.POSITIVE_INFINITY;

/** For how long the process stays for a socket. */
type Stay = "while pending" | "while open" | "never";

export class SocketCore implements BlockingTarget, PromiseTarget, QueueOwner, Ready, Dropped {
  readonly fd: number;
  readonly park: Park;
  readonly kind: string;
  readonly remedy = "close()";
  readonly reads: Queue = new Queue(this, READABLE);
  readonly writes: Queue = new Queue(this, WRITABLE);
  /** `monotonic()` times. A listener and a datagram socket's receiving side use the first. */
  readDeadline = NEVER;
  writeDeadline = NEVER;
  wakeAt = NEVER;
  deaf = false;
  closed = false;
  ownSource: CancelCore | null = null;
  #ownFacade: CancelSource | null = null;
  readonly #release: (fd: number) => void;
  /** In the reactor, from the first promise that had to wait. */
  #registration: Registration | null = null;
  #stay: Stay = "while pending";
  #leavers: Set<() => void> | undefined;

  /** `kind` names the object in errors; `release` gives the descriptor back, if closing it is not the way. */
  constructor(fd: number, kind: string, release: (fd: number) => void = closeOwned) {
    this.fd = fd;
    this.kind = kind;
    this.park = new Park(fd);
    this.#release = release;
  }

  closedError(_interest?: number): ClosedError | null {
    return this.closed ? new ClosedError(`this ${this.kind} was closed (or detached) on this side`) : null;
  }

  assertOpen(): void {
    if (this.closed) throw this.closedError();
  }

  queueOf(interest: number): Queue {
    return interest === READABLE ? this.reads : this.writes;
  }

  deadlineOf(interest: number): number {
    return interest === READABLE ? this.readDeadline : this.writeDeadline;
  }

  isBusy(interest: number): boolean {
    return this.queueOf(interest).head !== null;
  }

  /** Has the reactor tell this object when what its queues wait for may be there. Throws `SystemError`. */
  awaitReadiness(): void {
    const isAwaited = this.reads.head !== null || this.writes.head !== null;
    if (this.closed || (this.#registration === null && !isAwaited)) return;
    const here = reactor();
    let interest = READABLE | WRITABLE;
    if (!here.edgeTriggered) {
      interest = (this.reads.head !== null && !this.deaf ? READABLE : 0) | (this.writes.head !== null ? WRITABLE : 0);
    }
    if (this.#registration === null) {
      this.#registration = here.register(this.fd, this, interest);
    } else {
      this.#registration.owner = this;
      here.modify(this.#registration, interest);
    }
  }

  /** `owner` is told instead, until something is pending here: a connect has it before it is a socket. */
  awaitReadinessFor(owner: Ready): void {
    this.#registration ??= reactor().register(this.fd, owner, READABLE | WRITABLE);
    this.#registration.owner = owner;
  }

  ready(readiness: number): void {
    if (readiness & READABLE && this.reads.head !== null) this.reads.run();
    if (readiness & WRITABLE && this.writes.head !== null) this.writes.run();
    // A cancelled operation leaves its interest behind, and a level that nobody waits for would be told for ever.
    if (!reactor().edgeTriggered) this.awaitReadiness();
  }

  get keepsAlive(): boolean {
    return this.#stay !== "never";
  }

  /** False if there is nothing to change. */
  setStay(stay: Stay): boolean {
    if (stay === this.#stay || this.closed) return false;
    if (this.#stay === "while open") reactor().letGo();
    this.#stay = stay;
    if (stay === "while open") reactor().hold();
    for (const queue of [this.reads, this.writes]) queue.keepAlive(this.keepsAlive);
    return true;
  }

  get cancelSource(): CancelSource {
    if (this.#ownFacade === null) {
      this.assertOpen();
      this.#ownFacade = new CancelSource();
      this.ownSource = toCore(this.#ownFacade, "cancelSource").retain();
      for (const queue of [this.reads, this.writes]) queue.joinOwn(this.ownSource);
    }
    return this.#ownFacade;
  }

  cancel(reason: unknown): void {
    if (this.closed) return;
    const own = this.ownSource;
    if (own !== null) {
      const cancelled = this.#ownFacade!.cancel(reason) || own.now() !== null;
      // Not by way of its object: who listens to its signal may have closed this socket, or disposed it.
      own.reset();
      if (cancelled) return;
    }
    // Never asked for, or disposed by the user: what is pending is pending here.
    for (const queue of [this.reads, this.writes]) queue.cancel((name) => new CancelledError(name, reason));
  }

  /** `directions`: READABLE, WRITABLE or both. */
  setDeadline(when: When, directions: number): void {
    const deadline = toDeadline(when, "the deadline");
    this.assertOpen();
    if (directions & READABLE) {
      this.readDeadline = deadline;
      this.reads.reschedule();
    }
    if (directions & WRITABLE) {
      this.writeDeadline = deadline;
      this.writes.reschedule();
    }
  }

  close(): void {
    if (!this.closed) {
      this.leave();
      this.#release(this.fd);
    }
  }

  drop(): boolean {
    const open = !this.closed;
    this.close();
    return open;
  }

  /** `leaver` is called once, when it is closed or detached, before the descriptor goes: whoever has it in a set takes it out. */
  whenLeaving(leaver: () => void): void {
    this.#leavers ??= new Set();
    this.#leavers.add(leaver);
  }

  notWhenLeaving(leaver: () => void): void {
    this.#leavers?.delete(leaver);
  }

  /** Everything of a close but the descriptor's end. */
  leave(): void {
    if (this.#stay === "while open") reactor().letGo();
    this.closed = true;
    closedInTime(this);
    for (const leaver of this.#leavers ?? []) leaver();
    for (const queue of [this.reads, this.writes]) queue.failAll(() => this.closedError()!);
    try {
      // Before the descriptor: a number that is out of every selector cannot wake a stranger.
      this.park.close();
      if (this.#registration !== null) reactor().unregister(this.#registration);
    } finally {
      // Also if somebody has closed the descriptor behind our back, which the kernel says here.
      this.#registration = null;
      this.#ownFacade?.dispose();
      this.ownSource?.release();
      this.ownSource = null;
    }
  }

  /** Lets go of the descriptor without closing it, and of the own source: both belong to whoever has the ticket. */
  detach(): { ticket: number; cancel: CancelHandle | undefined } {
    this.assertOpen();
    if (this.reads.head !== null || this.writes.head !== null) throw new BusyError("detach");
    const cancel = this.ownSource?.share(); // first, as it may fail
    const ticket = ledger().detach(this.fd);
    this.ownSource?.holdFor(ticket);
    this.leave();
    return { ticket, cancel };
  }

  /** The own source of a socket that was detached elsewhere. */
  attach(source: CancelSource, ticket: number): void {
    this.#ownFacade = source;
    this.ownSource = toCore(source, "cancelSource").retain();
    this.ownSource.releaseFor(ticket);
  }
}

/** The state of a stream, apart from its descriptor. */
type StreamState = Pick<
  StreamCore,
  "readEnded" | "writeEnded" | "bytesRead" | "bytesWritten" | "readDeadline" | "writeDeadline"
> & { readonly localAddress?: InetAddress | undefined; readonly remoteAddress?: InetAddress | undefined };

export class StreamCore extends SocketCore {
  readEnded = false;
  writeEnded = false;
  /** `closeGracefully` has closed it. */
  endedGracefully = false;
  bytesRead = 0;
  bytesWritten = 0;

  /** What goes with a socket that is detached. Plain data. */
  save(): StreamState {
    const { readEnded, writeEnded, bytesRead, bytesWritten, readDeadline, writeDeadline } = this;
    return { readEnded, writeEnded, bytesRead, bytesWritten, readDeadline, writeDeadline };
  }

  restore(state: StreamState): void {
    const { readEnded, writeEnded, bytesRead, bytesWritten, readDeadline, writeDeadline } = state;
    Object.assign(this, { readEnded, writeEnded, bytesRead, bytesWritten, readDeadline, writeDeadline });
  }

  override closedError(interest = 0): ClosedError | null {
    if (this.writeEnded && interest === WRITABLE && !this.closed) {
      return new ClosedError(
        "the writing side was ended, by closeWrite or closeGracefully, or as the handler of its server was done: await what it writes",
      );
    }
    return super.closedError();
  }
}

export class TcpCore extends StreamCore {
  localAddress: InetAddress | undefined;
  remoteAddress: InetAddress | undefined;

  override save(): StreamState {
    return { ...super.save(), localAddress: this.localAddress, remoteAddress: this.remoteAddress };
  }

  override restore(state: StreamState): void {
    super.restore(state);
    this.localAddress = state.localAddress;
    this.remoteAddress = state.remoteAddress;
  }
}
