/** An AbortSignal and the operations of this thread that wait under it: one listener, for as long as there are any. */

interface Waiting {
  /** Ends if the signal has fired. */
  check(): void;
}

const watches = new WeakMap<AbortSignal, SignalWatch>();

export class SignalWatch {
  readonly #signal: AbortSignal;
  readonly #operations = new Set<Waiting>();
  readonly #fire = () => {
    for (const operation of this.#operations) operation.check();
  };

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  get aborted(): boolean {
    return this.#signal.aborted;
  }

  /** The object itself: whoever aborted knows it again. */
  get reason(): unknown {
    return this.#signal.reason;
  }

  join(operation: Waiting): void {
    if (this.#operations.size === 0) this.#signal.addEventListener("abort", this.#fire);
    this.#operations.add(operation);
  }

  leave(operation: Waiting): void {
    this.#operations.delete(operation);
    if (this.#operations.size === 0) this.#signal.removeEventListener("abort", this.#fire);
  }
}

export function watchOfSignal(signal: AbortSignal): SignalWatch {
  let watch = watches.get(signal);
  if (watch === undefined) {
    watch = new SignalWatch(signal);
    watches.set(signal, watch);
  }
  return watch;
}
