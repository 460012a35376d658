/**
 * The netcat with promises: no thread blocks, and Ctrl-C and the clock stop whatever is pending.
 *
 * Each direction is one loop that reads and then writes: back-pressure needs no more. A standard stream knows nothing of
 * cancelling, so what waits on one is left behind; the process is to end by `process.exit`.
 */
import { write } from "node:fs";
import { promisify } from "node:util";
import { monotonic, PollSet } from "../ffi/index.ts";
import {
  CancelledError,
  CancelSource,
  connect,
  listen,
  SystemError,
  type TcpSocket,
  TimeoutError,
  type UnixSocket,
} from "../src/index.ts";
import type { NetcatOptions } from "./arguments.ts";
import { BrokenOutput, describe, exitCode, LINGER, note, peerName } from "./messages.ts";

type Socket = TcpSocket | UnixSocket;

const OUTPUT = 1;
/** Small parts: only a whole one counts as something that moves. */
const PART = 16_384;
/** The longest `setTimeout`: a longer one fires at once. */
const LONGEST_TIMER = 0x7fff_ffff;
/** Milliseconds until the next try on an output that another process made non-blocking. */
const RETRY = 10;
/** Milliseconds between two looks whether the output still has a reader: no promise tells that before a write does. */
const LOOK = 200;
const writeSome = promisify(write);

/** Resolves to the exit code. */
export async function netcatAsync(options: NetcatOptions): Promise<number> {
  using cancel = new CancelSource();
  process.once("SIGINT", () => cancel.cancel("Ctrl-C"));
  try {
    using socket = await open(options, cancel);
    await new Transfer(socket, options, cancel).done();
    note(options, "done");
    return 0;
  } catch (error) {
    return exitCode(options, error);
  }
}

async function open(options: NetcatOptions, cancel: CancelSource): Promise<Socket> {
  const { address, connectTimeout, timeout } = options;
  if (!options.listen) {
    const target = "path" in address ? address : { hostname: address.hostname ?? "localhost", port: address.port };
    const socket = await connect({ ...target, timeout: connectTimeout, cancel });
    note(options, `connected to ${describe(address)}`);
    return socket;
  }
  using listener = listen(address);
  note(options, `listening on ${describe(listener.address)}`);
  const socket: Socket = await listener.accept({ timeout: connectTimeout ?? timeout, cancel });
  note(options, `a client has connected: ${describe(socket.remoteAddress)}`);
  return socket;
}

class Transfer {
  readonly #socket: Socket;
  readonly #options: NetcatOptions;
  readonly #cancel: CancelSource;
  /** Rejected when there is no use in going on, whatever is pending. */
  readonly #stopped = Promise.withResolvers<never>();
  /** The `monotonic()` time at which something was sent or received. */
  #movedAt = monotonic();
  #sending = false;
  /** What the network said to a write. What comes from the peer is still written out. */
  #failure: unknown;

  constructor(socket: Socket, options: NetcatOptions, cancel: CancelSource) {
    this.#socket = socket;
    this.#options = options;
    this.#cancel = cancel;
  }

  async done(): Promise<void> {
    const stop = (error: unknown) => this.#stopped.reject(error);
    const interrupted = () => stop(new CancelledError("the transfer", this.#cancel.reason));
    const { signal } = this.#cancel;
    if (signal.aborted) interrupted();
    signal.addEventListener("abort", interrupted);
    this.#watch(this.#options.timeout ?? Number.POSITIVE_INFINITY);
    const look = new PollSet();
    look.push(OUTPUT, 0); // errors alone, which are always reported
    setInterval(() => look.waitUntil(Number.NEGATIVE_INFINITY, false) > 0 && stop(new BrokenOutput()), LOOK);
    const sent = this.#send();
    sent.catch(stop);
    try {
      await Promise.race([this.#receive(), this.#stopped.promise]);
      await Promise.race([sent, this.#linger(), this.#stopped.promise]);
      if (this.#failure !== undefined) throw this.#failure;
    } catch (error) {
      throw error instanceof SystemError
        ? new Error(`${peerName(this.#options, this.#socket)}: ${error.message}`)
        : error;
    }
  }

  async #send(): Promise<void> {
    for await (const chunk of input()) {
      this.#moved();
      this.#sending = true;
      try {
        for (let start = 0; start < chunk.byteLength; start += PART) {
          await this.#socket.write(chunk.subarray(start, start + PART), { cancel: this.#cancel });
          this.#moved();
        }
      } catch (error) {
        this.#failure = error;
        return;
      } finally {
        this.#sending = false;
      }
    }
    if (!this.#socket.closed) this.#socket.closeWrite();
    this.#moved();
  }

  async #receive(): Promise<void> {
    const buffer = new Uint8Array(PART);
    for (let count: number; (count = await this.#socket.read(buffer, { cancel: this.#cancel })) > 0; ) {
      this.#moved();
      for (let start = 0; start < count; ) start += await writeOutput(buffer.subarray(start, count));
      this.#moved();
    }
    this.#moved();
  }

  #moved(): void {
    this.#movedAt = monotonic();
  }

  /** Stops it once nothing has moved for so many milliseconds. */
  #watch(limit: number): void {
    if (limit === Number.POSITIVE_INFINITY) return;
    const left = this.#movedAt + limit - monotonic();
    if (left <= 0) this.#stopped.reject(new TimeoutError("the transfer"));
    else setTimeout(() => this.#watch(limit), Math.min(Math.ceil(left), LONGEST_TIMER));
  }

  /** The peer has ended: resolves once our input has had nothing more for a while. */
  async #linger(): Promise<void> {
    for (let left: number; (left = this.#movedAt + LINGER - monotonic()) > 0 || this.#sending; ) {
      await Bun.sleep(Math.max(1, Math.ceil(left)));
    }
  }
}

/** Standard input, in chunks. A terminal that hung up has ended. */
async function* input(): AsyncGenerator<Uint8Array> {
  try {
    yield* Bun.stdin.stream();
  } catch (error) {
    if ((error as { code?: string }).code !== "EIO") throw error;
  }
}

/** How many bytes standard output has taken, once it has. */
async function writeOutput(bytes: Uint8Array): Promise<number> {
  try {
    return (await writeSome(OUTPUT, bytes, 0, bytes.byteLength, null)).bytesWritten;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "EPIPE") throw new BrokenOutput();
    if (code !== "EAGAIN") throw error;
    await Bun.sleep(RETRY);
    return 0;
  }
}
