/** What has a deadline on the promise side, in the order in which it comes due. */

export interface Timed {
  /** A `monotonic()` time. Change it through the heap. */
  dueAt: number;
  /** Its place in the heap; -1: in none. */
  place: number;
  /** The time has come, or a little before: it looks again, and if it goes on, it sets its time anew. */
  due(now: number): void;
}

/** A binary heap whose members know their places, so that one can be moved or taken out without a search. */
export class DeadlineHeap {
  readonly #members: Timed[] = [];

  /** The earliest deadline; Infinity if there is none. */
  get earliest(): number {
    return this.#members.length === 0 ? Number.POSITIVE_INFINITY : this.#members[0]!.dueAt;
  }

  /** The member with the earliest deadline. */
  get first(): Timed | undefined {
    return this.#members[0];
  }

  /** Puts `member` at its time, or moves it there; Infinity takes it out. */
  set(member: Timed, dueAt: number): void {
    if (dueAt === Number.POSITIVE_INFINITY) {
      this.delete(member);
      member.dueAt = dueAt;
      return;
    }
    const earlier = dueAt < member.dueAt;
    member.dueAt = dueAt;
    if (member.place === -1) {
      this.#members.push(member);
      this.#rise(member, this.#members.length - 1);
    } else if (earlier) {
      this.#rise(member, member.place);
    } else {
      this.#sink(member, member.place);
    }
  }

  delete(member: Timed): void {
    const { place } = member;
    if (place === -1) return;
    member.place = -1;
    const last = this.#members.pop()!;
    if (last === member) return;
    this.#rise(last, place);
    this.#sink(last, last.place);
  }

  #rise(member: Timed, from: number): void {
    let place = from;
    while (place > 0) {
      const above = this.#members[(place - 1) >> 1]!;
      if (above.dueAt <= member.dueAt) break;
      this.#put(above, place);
      place = (place - 1) >> 1;
    }
    this.#put(member, place);
  }

  #sink(member: Timed, from: number): void {
    let place = from;
    for (;;) {
      let below = place * 2 + 1;
      if (below >= this.#members.length) break;
      if (below + 1 < this.#members.length && this.#members[below + 1]!.dueAt < this.#members[below]!.dueAt) below++;
      if (this.#members[below]!.dueAt >= member.dueAt) break;
      this.#put(this.#members[below]!, place);
      place = below;
    }
    this.#put(member, place);
  }

  #put(member: Timed, place: number): void {
    this.#members[place] = member;
    member.place = place;
  }
}
