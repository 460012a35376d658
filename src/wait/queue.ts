/** Who waits on one direction of a socket on the promise side: first in, first out. */
import { monotonic } from "../../ffi/clock.ts";
import type { CancelCore } from "../cancel/core.ts";
import { type Entry, UNLIMITED } from "./entry.ts";
import { Operation } from "./operation.ts";
import { reactor } from "./reactor.ts";
import { outcomeOf, type Task } from "./task.ts";

const NEVER = Number.POSITIVE_INFINITY;
/** Steps that an operation, and operations that a queue, may do in a row before others have their turn. */
export const STEPS = 8;
const OPERATIONS = 32;

/** The object whose direction it is, as far as a queue cares. */
export interface QueueOwner {
  /** The `monotonic()` deadline of the direction that `interest` means. */
  deadlineOf(interest: number): number;
  readonly wakeAt: number;
  readonly deaf: boolean;
  readonly keepsAlive: boolean;
  /** The descriptor is awaited as its queues want it; throws `SystemError`. */
  awaitReadiness(): void;
  /** Told that `interest` may be there. */
  ready(interest: number): void;
}

export class Queue {
  readonly #owner: QueueOwner;
  /** READABLE or WRITABLE. */
  readonly interest: number;
  head: QueuedOperation | null = null;
  tail: QueuedOperation | null = null;
  isRunning = false;
  /** The reactor's turn in which the last operations succeeded at once, and how many did. */
  #turn = -1;
  #streak = 0;

  constructor(owner: QueueOwner, interest: number) {
    this.#owner = owner;
    this.interest = interest;
  }

  /** The deadline of the direction, a `monotonic()` time. */
  get deadline(): number {
    return this.#owner.deadlineOf(this.interest);
  }

  /**
   * Takes a try at once, if there is one to be had. What succeeds at once never leaves the microtask queue, where no timer, no
   * signal and no other socket gets a word in: after so many in a row, the next goes through the loop.
   */
  takeTry(): boolean {
    if (this.head !== null) return false;
    const { turn } = reactor();
    if (turn !== this.#turn) {
      this.#turn = turn;
      this.#streak = 0;
    }
    return ++this.#streak <= OPERATIONS;
  }

  /** Lets one wait. `blocked`: it has tried, and the kernel said that it would block; else it tries in the next turn. */
  add<T, A, R, V>(
    task: Task<T, A, R, V>,
    target: T,
    argument: A,
    holder: object | null,
    entry: Entry,
    blocked: boolean,
  ): Promise<V> {
    const operation = new QueuedOperation(this, this.#owner, task, target, argument, holder, entry);
    operation.previous = this.tail;
    if (this.tail === null) this.head = operation;
    else this.tail.next = operation;
    this.tail = operation;
    if (!blocked && this.head === operation) reactor().defer(this.#owner, this.interest);
    else this.#awaitReadiness();
    operation.reschedule();
    operation.check();
    return operation.promise as Promise<V>;
  }

  /** Lets one wait that nothing but a close ends: what it does is part of the object's state already. */
  addLast<T, A, R>(task: Task<T, A, R>, target: T, argument: A): Promise<R> {
    return this.add(task, target, argument, null, UNLIMITED, false);
  }

  remove(operation: QueuedOperation): void {
    const { previous, next } = operation;
    if (previous === null) this.head = next;
    else previous.next = next;
    if (next === null) this.tail = previous;
    else next.previous = previous;
  }

  /** Does what can be done now, in order. */
  run(): void {
    if (this.isRunning) return;
    if (this.#owner.deaf && monotonic() < this.#owner.wakeAt) {
      this.head?.reschedule(); // it may be head only now
      return;
    }
    this.isRunning = true;
    for (let done = 0; this.head !== null; done++) {
      if (done === OPERATIONS) {
        reactor().defer(this.#owner, this.interest);
        break;
      }
      if (!this.head.run()) break;
    }
    this.isRunning = false;
    this.#awaitReadiness();
  }

  /** The kernel may refuse to watch one more (ENOSPC, ENOMEM): then nothing would ever wake who waits. */
  #awaitReadiness(): void {
    try {
      this.#owner.awaitReadiness();
    } catch (error) {
      while (this.head !== null) this.head.fail(error);
    }
  }

  /** Ends all, each with an error of its own. */
  failAll(makeError: (operation: string) => Error): void {
    while (this.head !== null) this.head.fail(makeError(this.head.name));
  }

  /** Ends all that a cancel can end. */
  cancel(makeError: (operation: string) => Error): void {
    for (const operation of this.#operations()) if (operation.isCancellable) operation.fail(makeError(operation.name));
  }

  /** Their object has got a source of its own. */
  joinOwn(own: CancelCore): void {
    for (const operation of this.#operations()) if (operation.isCancellable) operation.joinOwn(own);
  }

  /** The deadline of the direction has moved. */
  reschedule(): void {
    for (const operation of this.#operations()) operation.reschedule();
  }

  /** The process stays for what waits here, or does not. */
  keepAlive(on: boolean): void {
    for (const operation of this.#operations()) operation.setKeepsAlive(on);
  }

  *#operations(): Generator<QueuedOperation> {
    for (let next: QueuedOperation | null, one = this.head; one !== null; one = next) {
      next = one.next;
      yield one;
    }
  }
}

export class QueuedOperation extends Operation<unknown> {
  readonly #queue: Queue;
  readonly #owner: QueueOwner;
  readonly #task: Task<unknown, unknown, unknown>;
  readonly #target: unknown;
  readonly #argument: unknown;
  /** What it works on is not collected while it waits. */
  readonly holder: object | null;
  previous: QueuedOperation | null = null;
  next: QueuedOperation | null = null;

  constructor(
    queue: Queue,
    owner: QueueOwner,
    task: Task<never, never, unknown>,
    target: unknown,
    argument: unknown,
    holder: object | null,
    entry: Entry,
  ) {
    super(task.name, entry, owner.keepsAlive);
    this.#queue = queue;
    this.#owner = owner;
    this.#task = task as Task<unknown, unknown, unknown>;
    this.#target = target;
    this.#argument = argument;
    this.holder = holder;
  }

  get isCancellable(): boolean {
    return this.#task.cancellable !== false;
  }

  /** One turn of its work. True: it is over, and the next one can go on. */
  run(): boolean {
    for (let steps = 0; ; steps++) {
      if (this.settled || this.isOver(0)) return true;
      if (steps === STEPS) {
        reactor().defer(this.#owner, this.#queue.interest);
        return false;
      }
      let result: unknown;
      this.stepping = true;
      try {
        result = this.#task.step(this.#target, this.#argument);
      } catch (error) {
        this.fail(error);
        return true;
      } finally {
        this.stepping = false;
      }
      if (result === null) {
        if (this.isOver(0)) return true; // it was cancelled during the step
        if (this.#owner.wakeAt !== NEVER) this.reschedule();
        return false;
      }
      if (result !== undefined) {
        this.succeed(outcomeOf(this.#task, result));
        return true;
      }
    }
  }

  protected override look(): void {
    this.#queue.run();
  }

  protected override leave(): void {
    const wasHead = this.#queue.head === this;
    this.#queue.remove(this);
    // It may not be the kernel's word that the next one waits for.
    if (wasHead && !this.#queue.isRunning && this.#queue.head !== null)
      reactor().defer(this.#owner, this.#queue.interest);
  }

  protected override get targetDeadline(): number {
    if (!this.isCancellable) return NEVER;
    return this.#owner.deadlineOf(this.#queue.interest);
  }

  protected override get wakeAt(): number {
    return this.#queue.head === this ? this.#owner.wakeAt : NEVER;
  }

  protected override describe(error: unknown): void {
    this.#task.failed?.(error, this.#argument);
  }
}
