/**
 * How long to look on after an event before the loop is armed. While a connection is busy its next event is microseconds
 * away, and a look costs less than arming the loop and being woken by it; but on one core a look too many keeps the peer
 * from running.
 */

/** Milliseconds: where looking on has not paid lately, and where it has. */
const SHORT = 0.02;
const LONG = 0.08;
/** What a long look that caught something is worth at most, and what one costs that caught nothing. */
const MOST_CREDIT = 16;
const FRUITLESS = 16;

export class Spin {
  /** Whether long looks pay: more than 0. */
  #credit = 0;
  #end = 0;
  /** When the loop was armed; Infinity: it is not. */
  #armedAt = Number.POSITIVE_INFINITY;

  /** Something has come. Times are `monotonic()`. */
  found(now: number): void {
    if (this.#armedAt === Number.POSITIVE_INFINITY) this.#credit = Math.min(this.#credit + 1, MOST_CREDIT);
    else if (now - this.#armedAt < LONG && this.#credit <= 0) this.#credit++;
    this.#armedAt = Number.POSITIVE_INFINITY;
    this.#end = now + (this.#credit > 0 ? LONG : SHORT);
  }

  goesOn(now: number): boolean {
    return now < this.#end;
  }

  /** It was looked on in vain, and the loop is armed. */
  armed(now: number): void {
    if (this.#armedAt !== Number.POSITIVE_INFINITY) return;
    if (this.#credit > 0) this.#credit -= FRUITLESS;
    this.#armedAt = now;
  }
}
