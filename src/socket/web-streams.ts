/** A stream socket as a pair of web streams. Nothing is read before somebody asks, and nothing is written that is not awaited. */
import { chunksOf } from "./chunks.ts";
import type { StreamSocket } from "./stream-socket.ts";

export class WebStreams {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;
  readonly #socket: StreamSocket;
  #ended = 0;

  constructor(socket: StreamSocket) {
    this.#socket = socket;
    // Not pulled ahead of a reader: bytes stay in the kernel, for whoever reads the socket itself.
    const chunks = chunksOf((into, options) => socket.read(into, options));
    this.readable = new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        pull: async (controller) => {
          const { done, value } = await chunks.next();
          if (value !== undefined) controller.enqueue(value);
          if (!done) return;
          controller.close();
          this.#end();
        },
        cancel: async () => {
          await chunks.return();
          if (!socket.closed) socket.closeRead();
          this.#end();
        },
      },
      { highWaterMark: 0 },
    );
    this.writable = new WritableStream<Uint8Array>({
      write: async (chunk, controller) => {
        // So that `abort` ends a write that waits. bun-types leave the member out.
        const { signal } = controller as unknown as { signal: AbortSignal };
        await socket.write(chunk, { signal });
      },
      close: () => {
        if (!socket.closed) socket.closeWrite();
        this.#end();
      },
      abort: () => socket.resetAndDestroy(),
    });
  }

  /** One side has ended well. */
  #end(): void {
    if (++this.#ended === 2) this.#socket.closeGracefully().catch(() => {});
  }
}
