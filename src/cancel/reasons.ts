/** Why the last rounds of a source were over: the objects that this thread knows, by round. */

/** A late operation asks for the reason of a round before the present one. */
const REMEMBERED = 4;

export class Reasons {
  readonly #byRound = new Map<number, unknown>();

  keep(round: number, reason: unknown): void {
    this.#byRound.delete(round);
    this.#byRound.set(round, reason);
    if (this.#byRound.size > REMEMBERED) this.#byRound.delete(this.#byRound.keys().next().value!);
  }

  has(round: number): boolean {
    return this.#byRound.has(round);
  }

  get(round: number): unknown {
    return this.#byRound.get(round);
  }
}

/** The string form that other threads see. */
export function describeReason(reason: unknown): string | undefined {
  if (reason === undefined) return undefined;
  try {
    return String(reason);
  } catch {
    return "an object that has no string form";
  }
}
