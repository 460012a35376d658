/** A connect that waits as a promise. */
import type { InetAddress } from "../../ffi/sockaddr.ts";
import type { Target } from "../wait/attempt.ts";
import type { Entry } from "../wait/entry.ts";
import { Operation } from "../wait/operation.ts";
import type { Ready } from "../wait/registrations.ts";
import type { StreamCore } from "./core.ts";

/** One connect from name to socket, whose step starts, watches and ends the attempts. */
export interface Dial<S> extends Target {
  step(): S | null;
  /** The name to look up before the first step; null: none. */
  readonly unknownHost: string | null;
  /** What the lookup found. */
  found(addresses: readonly InetAddress[]): void;
  readonly attempts: readonly StreamCore[];
  /** The `monotonic()` time at which the step wants to run again whatever happens. */
  readonly wakeAt: number;
  /** Closes what it has open. */
  abandon(): void;
}

export class Dialing<S> extends Operation<S> implements Ready {
  readonly #dial: Dial<S>;
  /** Tells a lookup that nobody waits for it any more. */
  readonly #onEnd: () => void;

  constructor(dial: Dial<S>, entry: Entry, onEnd: () => void) {
    super("connect", entry, true);
    this.#dial = dial;
    this.#onEnd = onEnd;
  }

  /** The addresses are known, or there is nothing to look up. */
  go(): void {
    if (this.settled) return;
    this.look();
    if (!this.settled) this.reschedule();
  }

  ready(): void {
    this.go();
  }

  protected override look(): void {
    if (this.#dial.unknownHost !== null || this.isOver(0)) return;
    let connected: S | null = null;
    this.stepping = true;
    try {
      connected = this.#dial.step();
      // Of the attempts that go on; registered before they had begun, they would have been ready at once.
      for (const attempt of this.#dial.attempts) attempt.awaitReadinessFor(this);
    } catch (error) {
      this.stepping = false;
      this.fail(error);
      return;
    }
    this.stepping = false;
    if (connected !== null) this.succeed(connected);
    else this.isOver(0);
  }

  protected override leave(): void {
    this.#dial.abandon();
    this.#onEnd();
  }

  protected readonly targetDeadline = Number.POSITIVE_INFINITY;

  protected override get wakeAt(): number {
    return this.#dial.wakeAt;
  }

  protected override describe(): void {}
}
