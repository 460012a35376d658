/**
 * An HTTP GET with one deadline for all of it: `bun run http-get.ts [--timeout SECONDS] URL`. The body goes to standard
 * output, messages to standard error. In your own program, import "cancelfd".
 *
 * One request a connection; http: only; no redirect is followed. Exit codes: 0 done, 1 network error or no success (not
 * 2xx), 2 usage, 124 timed out, 130 Ctrl-C.
 */
import { write } from "node:fs";
import { parseArgs, promisify } from "node:util";
import { CancelledError, CancelSource, connect, TimeoutError } from "../src/index.ts";

const writeSome = promisify(write);

/** What a server sends: by the line, and by the byte to standard output. */
class Incoming {
  readonly #read: (into: Uint8Array) => Promise<number>;
  readonly #buffer = Buffer.alloc(65_536);
  #held = this.#buffer.subarray(0, 0);

  constructor(read: (into: Uint8Array) => Promise<number>) {
    this.#read = read;
  }

  /** Adds to what is held, and says whether there was more. */
  async #more(): Promise<boolean> {
    const length = this.#held.copy(this.#buffer);
    if (length === this.#buffer.length) throw new Error("the answer has a line that is too long");
    const count = await this.#read(this.#buffer.subarray(length));
    this.#held = this.#buffer.subarray(0, length + count);
    return count > 0;
  }

  async line(): Promise<string> {
    let end: number;
    while ((end = this.#held.indexOf("\r\n")) === -1) {
      if (!(await this.#more())) throw new Error("the answer ends too early");
    }
    const line = this.#held.toString("latin1", 0, end);
    this.#held = this.#held.subarray(end + 2);
    return line;
  }

  /** So many bytes, or (Infinity) all there are. Reads no more before standard output has taken what is held. */
  async copy(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      if (this.#held.length === 0 && !(await this.#more())) {
        if (left === Number.POSITIVE_INFINITY) return;
        throw new Error(`the body ends ${left} bytes too early`);
      }
      const { bytesWritten } = await writeSome(1, this.#held, 0, Math.min(left, this.#held.length), null);
      this.#held = this.#held.subarray(bytesWritten);
      left -= bytesWritten;
    }
  }
}

async function get({ hostname, port, host, pathname, search }: URL, cancel: CancelSource): Promise<void> {
  using socket = await connect({ hostname: hostname.replace(/^\[|\]$/g, ""), port: Number(port || 80), cancel });
  await socket.write(`GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, { cancel });
  const answer = new Incoming((into) => socket.read(into, { cancel }));
  const status = await answer.line();
  if (!/^HTTP\/1\.\d \d{3}/.test(status)) throw new Error("the answer is not HTTP/1.1");
  let length = Number.POSITIVE_INFINITY;
  let chunked = false;
  for (let field: string; (field = await answer.line()) !== ""; ) {
    length = Number(/^content-length:\s*(\d+)\s*$/i.exec(field)?.[1] ?? length);
    chunked ||= /^transfer-encoding:\s*chunked\s*$/i.test(field);
  }
  if (!chunked) await answer.copy(length);
  for (let size = 1; chunked && size > 0; await answer.line()) {
    size = Number.parseInt(await answer.line(), 16);
    if (!(size >= 0)) throw new Error("the answer has a chunk without a length");
    await answer.copy(size);
  }
  if (!/^HTTP\/1\.\d 2/.test(status)) throw new Error(status);
}

async function main(cancel: CancelSource): Promise<void> {
  const { values, positionals } = parseArgs({ options: { timeout: { type: "string" } }, allowPositionals: true });
  const seconds = Number(values.timeout ?? Number.POSITIVE_INFINITY);
  if (!(seconds > 0)) throw new TypeError(`--timeout takes seconds, more than 0, not "${values.timeout}"`);
  const url = URL.parse(positionals[0] ?? "");
  if (url?.protocol !== "http:" || positionals.length > 1) throw new TypeError("give one URL that begins with http://");
  const all = CancelSource.any(cancel, CancelSource.timeout(seconds * 1000));
  // Standard output cannot be cancelled, but nobody has to wait for it.
  const over = new Promise((resolve) => all.signal.addEventListener("abort", resolve));
  await Promise.race([get(url, all), over.then(() => all.throwIfCancelled())]);
}

const interrupt = new CancelSource();
process.once("SIGINT", () => interrupt.cancel("Ctrl-C"));
const error = await main(interrupt).catch((reason: Error & { syscall?: string; code?: string }) => reason);
if (!error || (error.syscall === "write" && error.code === "EPIPE")) process.exit(0); // its reader may have had enough
console.error(error.message);
if (error instanceof TypeError) console.error("usage: bun run http-get.ts [--timeout SECONDS] URL");
const codes = [[TypeError, 2] as const, [TimeoutError, 124] as const, [CancelledError, 130] as const];
process.exit(codes.find(([kind]) => error instanceof kind)?.[1] ?? 1);
