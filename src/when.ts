/** Times as users give them, turned into CLOCK_MONOTONIC milliseconds. */
import { monotonic } from "../ffi/clock.ts";

/**
 * A point in time: milliseconds from now, or a `Date`. `null`, `undefined` and `Infinity`: never. Zero or less, or a
 * past `Date`: expired already.
 */
export type When = number | Date | null | undefined;

/** The longest `setTimeout`, in milliseconds: a longer one fires after one. */
export const LONGEST_TIMER = 0x7fff_ffff;

const NEVER = Number.POSITIVE_INFINITY;
const EXPIRED = Number.NEGATIVE_INFINITY;
const YEAR = 365.25 * 24 * 3600 * 1000;

/**
 * The deadline as a `monotonic()` time; Infinity is never, -Infinity has passed. `name` is how the user knows the
 * value. Throws `TypeError`, or `RangeError` for NaN and for what looks like a time stamp.
 */
export function toDeadline(when: When, name: string): number {
  if (when === null || when === undefined) return NEVER;
  let left: number;
  if (typeof when === "number") {
    left = when;
    if (Number.isNaN(left))
      throw new RangeError(`${name} is NaN; pass milliseconds from now, a Date, or null for never`);
    // Nobody waits for 56 years: it is Date.now() + something.
    if (Math.abs(left - Date.now()) < YEAR) {
      throw new RangeError(`${name} is ${left}, a time stamp; pass a Date, or milliseconds from now`);
    }
  } else if (when instanceof Date) {
    // Date.now() is cut to the millisecond below, so what is left is never too short.
    left = when.getTime() - Date.now();
    if (Number.isNaN(left)) throw new RangeError(`${name} is an invalid Date`);
  } else {
    throw new TypeError(`${name} is milliseconds from now, a Date, or null for never, not ${typeof when}`);
  }
  if (left === NEVER) return NEVER;
  return left <= 0 ? EXPIRED : monotonic() + left;
}
