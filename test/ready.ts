/** One of each blocking operation, against something that is ready at once, all in the calling thread. */
import { connectSync, listen, type TcpListener, type TcpSocket, type WaitOptions } from "../src/index.ts";
import { callsDuring } from "./hooks.ts";
import { thrown } from "./thread.ts";

export const operations = ["read", "write", "writev", "accept", "connect"] as const;
export type Operation = (typeof operations)[number];

/** A connection with five bytes to read, a listener with a client in its queue, and one that can be connected to. */
export class Ready implements Disposable {
  readonly #queued: TcpListener = listen({ hostname: "127.0.0.1" });
  readonly #free: TcpListener = listen({ hostname: "127.0.0.1" });
  readonly #near: TcpSocket;
  readonly #far: TcpSocket;
  readonly #client: TcpSocket;

  constructor() {
    this.#near = connectSync({ hostname: "127.0.0.1", port: this.#free.address.port });
    this.#far = this.#free.acceptSync({ timeout: 20_000 });
    this.#far.writeSync("bytes");
    this.#client = connectSync({ hostname: "127.0.0.1", port: this.#queued.address.port });
  }

  /** What was read, written or exchanged over a new connection: five bytes each, when it succeeds. */
  do(operation: Operation, options: WaitOptions): string {
    if (operation === "read") return read(this.#near, options);
    if (operation === "write") this.#near.writeSync("bytes", options);
    else if (operation === "writev") this.#near.writevSync([Buffer.from("by"), Buffer.from("tes")], options);
    else if (operation === "accept") {
      using accepted = this.#queued.acceptSync(options);
      accepted.writeSync("bytes");
      return read(this.#client, { timeout: 20_000 });
    } else {
      using connected = connectSync({ hostname: "127.0.0.1", port: this.#free.address.port, ...options });
      using accepted = this.#free.acceptSync({ timeout: 20_000 });
      connected.writeSync("bytes");
      return read(accepted, { timeout: 20_000 });
    }
    return read(this.#far, { timeout: 20_000 });
  }

  /** What is left that the operations so far have not taken: data on either side, and connections. */
  left(): string[] {
    const left: string[] = [];
    for (const [name, socket] of [
      ["near", this.#near],
      ["far", this.#far],
      ["client", this.#client],
    ] as const) {
      const count = socket.tryRead(new Uint8Array(64));
      if (count !== null && count > 0) left.push(`${count} bytes at ${name}`);
    }
    for (const listener of [this.#queued, this.#free]) {
      using extra = listener.tryAccept();
      if (extra !== null) left.push(listener === this.#queued ? "a queued client" : "a connection");
    }
    return left;
  }

  [Symbol.dispose](): void {
    for (const resource of [this.#near, this.#far, this.#client, this.#queued, this.#free]) resource.close();
  }
}

function read(socket: TcpSocket, options: WaitOptions): string {
  const into = new Uint8Array(64);
  return Buffer.from(into.subarray(0, socket.readSync(into, options))).toString();
}

/** What came of an operation that was tried with `options`, which are expected to stop it, and then without. */
export interface Refusal {
  name: string;
  code: string;
  cause: unknown;
  bytesWritten: number | undefined;
  /** The calls into the kernel that the refused operation made. */
  calls: string[];
  afterwards: string;
  left: string[];
}

export function refused(operation: Operation, options: WaitOptions): Refusal {
  using ready = new Ready();
  const { made: calls, result: error } = callsDuring(() => thrown(() => ready.do(operation, options)));
  const { name, code, cause, bytesWritten } = error;
  const afterwards = ready.do(operation, { timeout: 20_000 });
  if (operation !== "read") ready.do("read", { timeout: 20_000 });
  if (operation !== "accept") ready.do("accept", { timeout: 20_000 });
  return { name, code: code!, cause, bytesWritten, calls, afterwards, left: ready.left() };
}
