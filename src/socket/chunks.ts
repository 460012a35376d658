/** A stream in chunks. */
import type { OperationOptions } from "../wait/attempt.ts";
import { END, Iteration } from "./iteration.ts";

/** A chunk has at most so many bytes. */
const CHUNK = 65_536;

type Read = (into: Uint8Array, options: OperationOptions) => Promise<number>;

/** What `read` reads until it reads 0, each chunk in memory of its own. */
export function chunksOf(read: Read): Iteration<Uint8Array<ArrayBuffer>> {
  /** Null while a read has it: of two reads at once each needs its own. */
  let buffer: Uint8Array<ArrayBuffer> | null = null;
  return new Iteration(async (options) => {
    const into = buffer ?? new Uint8Array(CHUNK);
    buffer = null;
    const count = await read(into, options);
    buffer = into;
    return count === 0 ? END : into.slice(0, count);
  });
}
