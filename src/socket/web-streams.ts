/** A stream socket as a pair of web streams. Nothing is read before somebody asks, and nothing is written that is not awaited. */
import { chunksOf } from "./chunks.ts";
import type { StreamSocket } from "./stream-socket.ts";

export class WebStreams {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;
  readonly #socket: StreamSocket;
  #readableIsOver = false;
  #writableIsOver = false;
  /** What was written is not all of it. */
  #isCutOff = false;

  constructor(socket: StreamSocket) {
    this.#socket = socket;
    // Not pulled ahead of a reader: bytes stay in the kernel, for whoever reads the socket itself.
    const chunks = chunksOf((into, options) => socket.read(into, options));
    this.readable = new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        pull: async (controller) => {
          let over = true;
          try {
            const { done, value } = await chunks.next();
            if (value !== undefined) controller.enqueue(value);
            if (done) controller.close();
            else over = false;
          } finally {
            if (over) this.#readableEnds();
          }
        },
        cancel: async () => {
          try {
            await chunks.return();
            if (!socket.closed) socket.closeRead();
          } finally {
            this.#readableEnds();
          }
        },
      },
      { highWaterMark: 0 },
    );
    this.writable = new WritableStream<Uint8Array>({
      write: async (chunk, controller) => {
        // So that `abort` ends a write that waits. bun-types leave the member out.
        const { signal } = controller as unknown as { signal: AbortSignal };
        try {
          await socket.write(chunk, { signal });
        } catch (error) {
          this.#isCutOff = true;
          this.#writableEnds();
          throw error;
        }
      },
      close: () => {
        try {
          if (!socket.closed) socket.closeWrite();
        } finally {
          this.#writableEnds();
        }
      },
      abort: () => socket.resetAndDestroy(),
    });
  }

  #readableEnds(): void {
    if (this.#readableIsOver) return; // a read that `cancel` has ended comes by as well
    this.#readableIsOver = true;
    if (this.#writableIsOver) this.#end();
  }

  #writableEnds(): void {
    this.#writableIsOver = true;
    if (this.#readableIsOver) this.#end();
  }

  /** Both are over, and nobody is left to close the socket. The peer must not take a part for the whole. */
  #end(): void {
    if (this.#isCutOff) this.#socket.resetAndDestroy();
    else this.#socket.closeGracefully().catch(() => {});
  }
}
