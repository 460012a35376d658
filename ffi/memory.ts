/**
 * Memory that C can write to.
 *
 * A plain `new Uint8Array(8)` moves its storage when the JIT tiers up or somebody touches `.buffer`, and the kernel
 * then writes into freed memory (175,335 of 200,000 reads stale, Bun 1.4.5). A view of an explicit ArrayBuffer stays.
 */
import { CString, type Pointer, ptr, read, toArrayBuffer } from "bun:ffi";

/** What the calls of libc take where C has a pointer to memory. */
export type View = Uint8Array | Int32Array | BigUint64Array;

/** Scratch memory for structs: made once a thread at the top of a module, reused by every call. */
export function scratch(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(bytes));
}

/** The same, by 32-bit words: every struct here is made of them. */
export function scratchWords(words: number): Int32Array<ArrayBuffer> {
  return new Int32Array(new ArrayBuffer(words * 4));
}

/** The address of a view, good for as long as somebody holds the view. Throws `TypeError` for an empty one. */
export function addressOf(view: View): number {
  void view.buffer; // moves a small array's storage to where it stays, now rather than during the call
  const address: unknown = ptr(view);
  // Of an empty view, Bun 1.4.5 returns (not throws) an Error.
  if (typeof address !== "number") throw new TypeError("an empty buffer has no address");
  return address;
}

/** Throws `TypeError` for what the FFI would silently turn into NULL or into the wrong bytes. */
export function checkBytes(bytes: Uint8Array): void {
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(
      "expected a Uint8Array (a Buffer is one), or a string where text is written; wrap an ArrayBuffer as new Uint8Array(buffer)",
    );
  }
  // A detached buffer is zero long, and only then is it worth touching `.buffer`, which makes small arrays move.
  if (bytes.byteLength === 0 && (bytes.buffer as ArrayBuffer).detached === true) {
    throw new TypeError("the buffer was detached (transferred to another thread); pass one that this thread owns");
  }
}

/** A copy of `bytes` bytes at an address that C gave us. */
export function copyFrom(address: number, bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(toArrayBuffer(address as Pointer, 0, bytes)).slice();
}

/** The text at an address that C gave us, up to its NUL. */
export function textAt(address: number): string {
  return new CString(address as Pointer).toString();
}

/** The int at an address that C gave us. */
export function readInt32(address: number): number {
  return read.i32(address as Pointer);
}

/** The words at an address that C gave us, to read and write; atomic operations work on them across threads. */
export function wordsAt(address: number, words: number): Int32Array<ArrayBuffer> {
  return new Int32Array(toArrayBuffer(address as Pointer, 0, words * 4));
}

/** The pointer at an address that C gave us; 0 is NULL. */
export function readPointer(address: number): number {
  return read.ptr(address as Pointer);
}

/** Writes an 8-byte unsigned integer below 2^53 as two words. */
export function writeUint64(words: Int32Array, index: number, value: number): void {
  words[index] = (value % 0x1_0000_0000) | 0;
  words[index + 1] = Math.floor(value / 0x1_0000_0000);
}

const encoder = new TextEncoder();
/** A string as C wants it, with its final NUL. Throws `TypeError` for one that C would see cut short. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new TypeError(`a NUL in ${JSON.stringify(text)}`);
  const bytes = scratch(Buffer.byteLength(text) + 1);
  encoder.encodeInto(text, bytes);
  return bytes;
}
