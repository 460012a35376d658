import { printAs } from "../print.ts";
import type { CancelSource } from "./source.ts";

/** Makes the token of a source. */
export let tokenOf: (source: CancelSource) => CancelToken;
/** The source of a token, which its user is not to reach. */
export let sourceOf: (token: CancelToken) => CancelSource;

/** A `CancelSource` as seen by those who may not cancel it. Pass it as `cancel` to operations, as its source. */
export class CancelToken {
  /** Strong: the source lives as long as somebody can ask. */
  readonly #source: CancelSource;

  private constructor(source: CancelSource) {
    this.#source = source;
  }

  static {
    tokenOf = (source) => new CancelToken(source);
    sourceOf = (token) => token.#source;
    printAs(CancelToken, ({ cancelled }) => ({ cancelled }));
  }

  /** True from the cancel on, until the source's `reset`. */
  get cancelled(): boolean {
    return this.#source.cancelled;
  }

  /** What was given to `cancel`; its string form if another thread called it. */
  get reason(): unknown {
    return this.#source.reason;
  }

  /** Aborts when the source is cancelled, from whichever thread. */
  get signal(): AbortSignal {
    return this.#source.signal;
  }

  /** Throws what an operation would fail with: `CancelledError` or `TimeoutError`. */
  throwIfCancelled(): void {
    this.#source.throwIfCancelled();
  }

  /** A source of one's own that is cancelled with this one. */
  child(): CancelSource {
    return this.#source.child();
  }
}
