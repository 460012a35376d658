/** Values as bytes, and back: structured clone, with a short way for numbers and bytes. */
import { deserialize, serialize } from "bun:jsc";

/** What `bun:jsc` writes. */
const CLONE = 0;
/** A double. */
export const NUMBER = 1;
/** A `Uint8Array`, without what else is in its buffer: structured clone would send all 8 KiB of Node.js's pool with a `Buffer`. */
const BYTES = 2;
export type EntryType = typeof CLONE | typeof NUMBER | typeof BYTES;

/** A value that is ready to be copied into a ring. */
export interface Entry {
  readonly type: EntryType;
  readonly number: number;
  /** Null of a number. Not a copy, perhaps: it is to be sent before the value's owner runs again, or else `copyOut` it. */
  bytes: Uint8Array | null;
}

const binary = { binaryType: "nodebuffer" } as const;

/** Throws `TypeError` if there is shared memory in it, `DataCloneError` for what cannot be cloned (a function, say). */
export function encode(value: unknown): Entry {
  if (typeof value === "number") return { type: NUMBER, number: value, bytes: null };
  if (typeof value === "object" && value !== null) {
    if (value instanceof Uint8Array) {
      if (value.buffer instanceof SharedArrayBuffer) throw sharedMemory();
      if (!value.buffer.detached) return { type: BYTES, number: 0, bytes: value };
    }
    refuseSharedMemory(value);
  }
  return { type: CLONE, number: 0, bytes: serialize(value, binary) };
}

/** An entry that has to wait: what its owner writes meanwhile is not what was sent. */
export function copyOut(entry: Entry): void {
  if (entry.type === BYTES) entry.bytes = new Uint8Array(entry.bytes!);
}

/** `bytes` may be overwritten afterwards. */
export function decode(type: EntryType, bytes: Uint8Array): unknown {
  return type === BYTES ? new Uint8Array(bytes) : deserialize(bytes as Uint8Array<ArrayBuffer>);
}

function sharedMemory(): TypeError {
  return new TypeError(
    "a WakeQueue cannot send shared memory (a SharedArrayBuffer, or a view of one, or a handle): it would arrive as a copy; " +
      "send it with postMessage",
  );
}

/** From so many objects on, those that were seen are remembered: small values are trees, nearly always. */
const REMEMBER_FROM = 64;

/** bun:jsc's serialize copies shared memory without a word. */
function refuseSharedMemory(value: object): void {
  const left: object[] = [value];
  let seen: Set<object> | undefined;
  const look = (inside: unknown) => {
    if (typeof inside === "object" && inside !== null) left.push(inside);
  };
  for (let count = 0; left.length > 0; count++) {
    const one = left.pop()!;
    if (count >= REMEMBER_FROM) {
      seen ??= new Set();
      if (seen.has(one)) continue;
      seen.add(one);
    }
    if (one instanceof SharedArrayBuffer) throw sharedMemory();
    if (ArrayBuffer.isView(one)) {
      if (one.buffer instanceof SharedArrayBuffer) throw sharedMemory();
    } else if (one instanceof Map) {
      for (const [key, inside] of one) {
        look(key);
        look(inside);
      }
    } else if (one instanceof Set) {
      for (const inside of one) look(inside);
    } else if (Array.isArray(one)) {
      for (let i = 0; i < one.length; i++) look(one[i]);
    } else {
      for (const key of Object.keys(one)) look((one as Record<string, unknown>)[key]);
    }
  }
}
