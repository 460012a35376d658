/** Numbers that several threads have sent: which thread in the upper half, how many came before in the lower one. */

/** Expects the numbers of each sender to come from 0 on without a gap; counts them. */
export class Sequences {
  readonly next: number[] = [];
  total = 0;

  check(value: number): void {
    const sender = Math.floor(value / 2 ** 32);
    this.next[sender] ??= 0;
    const number = value % 2 ** 32;
    if (number !== this.next[sender]) throw new Error(`${sender}: expected ${this.next[sender]}, got ${number}`);
    this.next[sender]++;
    this.total++;
  }
}
