/**
 * A doorbell that one thread listens to, and drains: an eventfd, or where there is none a pipe whose both ends are
 * non-blocking. Ringing it never blocks: one that is full has been rung already.
 *
 * It lies in two words of shared memory, each a descriptor plus one: what to listen to, and what to ring. Of an eventfd
 * they are equal.
 */
import { drain, ring } from "../../ffi/eventfd.ts";
import { drainPipe, Pipe, poke } from "../../ffi/pipe.ts";
import { openBell } from "./doorbell.ts";
import { closeOwned, knownLedgers, own } from "./ledger.ts";

const LISTEN = 0;
const RING = 1;

/** Makes one, whose descriptors this thread owns. Throws `SystemError` (`EMFILE`). */
export function openDoorbell(words: Int32Array, at: number): void {
  let listen = openBell().word;
  let toRing = listen;
  if (listen === -1) {
    const pipe = new Pipe();
    listen = own(pipe.readFd);
    toRing = own(pipe.writeFd);
  }
  Atomics.store(words, at + LISTEN, listen + 1);
  Atomics.store(words, at + RING, toRing + 1);
}

/** The descriptor that is readable once it is rung; -1: there is no doorbell. */
export function doorbellFd(words: Int32Array, at: number): number {
  // The word that is written last: whoever finds it finds both.
  return Atomics.load(words, at + RING) === 0 ? -1 : words[at + LISTEN]! - 1;
}

export function ringDoorbell(words: Int32Array, at: number): void {
  const toRing = Atomics.load(words, at + RING);
  if (toRing === 0) return;
  if (words[at + LISTEN] === toRing) ring(toRing - 1);
  else poke(toRing - 1);
}

export function drainDoorbell(words: Int32Array, at: number): void {
  const listen = words[at + LISTEN]!;
  if (listen === words[at + RING]) drain(listen - 1);
  else drainPipe(listen - 1);
}

function descriptors(words: Int32Array, at: number): Set<number> {
  const fds = new Set([Atomics.load(words, at + LISTEN) - 1, Atomics.load(words, at + RING) - 1]);
  fds.delete(-1);
  return fds;
}

/** It is this thread's to close. */
export function claimDoorbell(words: Int32Array, at: number): void {
  for (const fd of descriptors(words, at)) own(fd);
}

/** It is no thread's any more but its holders': whatever any thread is said to own of it, a sweep must not close. */
export function disownDoorbell(words: Int32Array, at: number): void {
  for (const fd of descriptors(words, at)) for (const book of knownLedgers()) book.disown(fd);
}

export function closeDoorbell(words: Int32Array, at: number): void {
  for (const fd of descriptors(words, at)) closeOwned(fd);
}
