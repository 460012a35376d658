/** What an operation does, apart from when: the blocking form and the promise form share it. */

/**
 * One try at `target`. Null: it would block. Undefined: it got on and is not done; look at the cancel words and go on.
 * It may be called any number of times, and keeps what it needs in `argument`.
 */
export type Step<T, A, R> = (target: T, argument: A) => R | null | undefined;

export interface Task<T, A, R, V = R> {
  /** How errors call it. */
  readonly name: string;
  /** READABLE or WRITABLE: what it waits for, and in which of an object's two queues. */
  readonly interest: number;
  readonly step: Step<T, A, R>;
  /** What the operation returns instead of the step's result, at once: where null and undefined are values, or the result is only lent. */
  unwrap?(result: R): V;
  /** False: neither a deadline nor a cancel of the object ends it, only a close. */
  readonly cancellable?: false;
  /** Puts into an error what got done before it. */
  readonly failed?: (error: unknown, argument: A) => void;
}

/** What an operation returns whose step has succeeded. */
export function outcomeOf<T, A, R, V>({ unwrap }: Task<T, A, R, V>, result: R): V {
  return unwrap === undefined ? (result as unknown as V) : unwrap(result);
}
