/** Connections of a listener, chunks of a stream and values of a queue, as an async iterator. */
import { CancelSource } from "../cancel/source.ts";
import { CancelledError } from "../errors.ts";
import type { OperationOptions } from "../wait/attempt.ts";

/** There is no value any more; undefined may be one. */
export const END: unique symbol = Symbol("end");
type Next<T> = (options: OperationOptions) => Promise<T | typeof END>;

export class Iteration<T> implements AsyncIterableIterator<T, undefined> {
  readonly #next: Next<T>;
  /** Ends an operation that nobody waits for any more, so that what comes is there for the next one. */
  readonly #left = new CancelSource();

  constructor(next: Next<T>) {
    this.#next = next;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    if (this.#left.cancelled) return { done: true, value: undefined };
    try {
      const value = await this.#next({ cancel: this.#left });
      if (value !== END) return { done: false, value };
    } catch (error) {
      if (!(error instanceof CancelledError && this.#left.cancelled)) throw error;
    }
    return this.return();
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#left.cancel();
    return { done: true, value: undefined };
  }
}
