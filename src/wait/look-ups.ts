/** Looks from time to time until things are well again: while no descriptor is free, or while the loop does not work. */
import { isShortage } from "../errors.ts";

/** Somebody who has no doorbell, and looks at the state of things from time to time instead. */
export interface Blind {
  lookUp(): void;
}

/** Milliseconds between two looks. */
const LOOK_UP = 10;

export class LookUps {
  readonly #before: () => void;
  readonly #after: () => void;
  readonly #blind = new Set<Blind>();
  #complained = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isAlive = false;

  /** `before` and `after` are called with each look: the blind are told in between. */
  constructor(before: () => void, after: () => void) {
    this.#before = before;
    this.#after = after;
  }

  /** From now on `one` looks up from time to time, or no more. */
  setBlind(one: Blind, blind: boolean): void {
    if (!blind) this.#blind.delete(one);
    else {
      this.#blind.add(one);
      this.soon();
    }
  }

  /** There is a look soon. `why`: the error that has made it necessary; told to the user, once, if it is no shortage. */
  soon(why?: unknown): void {
    if (why !== undefined && !isShortage(why) && !this.#complained) {
      this.#complained = true;
      process.emitWarning(`promises are looked at every ${LOOK_UP} ms now, as the event loop cannot be used: ${why}`, {
        code: "CANCELFD_LOOP",
      });
    }
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.#look(), LOOK_UP);
    if (!this.#isAlive) this.#timer.unref();
  }

  #look(): void {
    this.#timer = undefined;
    this.#before();
    for (const one of [...this.#blind]) one.lookUp();
    this.#after();
    if (this.#blind.size > 0) this.soon();
  }

  /** Whether the process stays for the next look. */
  keepAlive(on: boolean): void {
    this.#isAlive = on;
    if (on) this.#timer?.ref();
    else this.#timer?.unref();
  }
}
