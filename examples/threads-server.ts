/**
 * An HTTP/1.1 server whose threads block: `bun run threads-server.ts [--port PORT] [--threads COUNT]`. Each thread takes a
 * connection from the one listener, serves it to its end, and takes the next. In your own program, import "cancelfd".
 *
 * Ctrl-C or SIGTERM: whoever has a connection gets an answer, then it says what each thread did. Start the next server at
 * the same port before that, and no client is lost: a graceful restart. A second signal resets what is left.
 *
 * Exit codes: 0 everybody was served, 1 an error or a second signal, 2 usage.
 */
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { HTTPParser } from "http-parser-js";
import * as cancelfd from "../src/index.ts";

/** Milliseconds for a whole request, an answer, the wait for the next request, the same when we stop, the client's end. */
const LIMITS = { request: 10_000, write: 10_000, idle: 5000, stopping: 1000, end: 1000 };
/** On one connection, so that nobody has a thread for ever. */
const MOST_REQUESTS = 100;
const USAGE = "usage: bun run threads-server.ts [--port PORT] [--threads COUNT]";

/** What a thread gets. The first signal cancels `stop`, the second `now`. */
interface Share {
  id: number;
  listener: cancelfd.ListenerHandle;
  stop: cancelfd.CancelHandle;
  now: cancelfd.CancelHandle;
  /** One word: how many threads have no client. */
  free: Int32Array;
}

interface Sums {
  connections: number;
  requests: number;
  /** Connections that were reset: by a second signal, or as the client did not take its answer. */
  cutOff: number;
}

interface Request {
  method: string;
  url: string;
  bodyLength: number;
  keepAlive: boolean;
}

/** Head and body in one string, for one write: of two, the second may wait until the client has acknowledged the first. */
function response(status: string, body: string, isLast: boolean, method = "GET"): string {
  const length = `Content-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}`;
  const head = `HTTP/1.1 ${status}\r\nDate: ${new Date().toUTCString()}\r\n${length}`;
  return `${head}\r\nConnection: ${isLast ? "close" : "keep-alive"}\r\n\r\n${method === "HEAD" ? "" : body}`;
}

/** From the bytes of a connection to what is to be written. Pipelined requests are answered in their order. */
class Conversation {
  readonly #parser = new HTTPParser(HTTPParser.REQUEST);
  #request: Request = { method: "", url: "", bodyLength: 0, keepAlive: false };
  #out = "";
  /** Nothing of the next request has come (but a beginning, perhaps, together with the end of another). */
  isIdle = true;
  /** The last answer is given. */
  isOver = false;

  constructor(isLast: (request: Request) => boolean, answer: (request: Request) => string) {
    this.#parser[HTTPParser.kOnHeadersComplete] = (head) => {
      const fields = new Headers();
      for (let i = 0; i < head.headers.length; i += 2) fields.append(head.headers[i]!, head.headers[i + 1]!);
      const [length, coding] = [fields.get("content-length"), fields.get("transfer-encoding")];
      // The parser lets these pass, but a proxy in front of us may see such a body end elsewhere. (It passes over other
      // faults, too: a space before a colon, odd sizes of chunks. Take a strict one if that matters.)
      if (coding === null ? !/^\d*$/.test(length ?? "") : length !== null || !/^chunked$/i.test(coding)) {
        throw new Error("a body without a clear length");
      }
      const keepAlive = head.shouldKeepAlive && !head.upgrade; // the parser reads nothing after an upgrade
      this.#request = { method: HTTPParser.methods[head.method]!, url: head.url, bodyLength: 0, keepAlive };
      const waits = head.versionMinor > 0 && /^100-continue$/i.test(fields.get("expect") ?? "");
      if (waits && !this.isOver) this.#out += "HTTP/1.1 100 Continue\r\n\r\n";
    };
    this.#parser[HTTPParser.kOnBody] = (_chunk, _offset, length) => {
      this.#request.bodyLength += length;
    };
    this.#parser[HTTPParser.kOnMessageComplete] = () => {
      if (this.isOver) return;
      this.isOver = isLast(this.#request);
      this.#out += response("200 OK", answer(this.#request), this.isOver, this.#request.method);
      this.isIdle = true;
    };
  }

  /** What to write after these bytes. */
  take(bytes: Buffer): string {
    this.#out = "";
    this.isIdle = false;
    try {
      const result = this.#parser.execute(bytes);
      if (result instanceof Error) throw result;
    } catch (error) {
      if (!this.isOver) this.#out += response("400 Bad Request", `${(error as Error).message}\n`, true);
      this.isOver = true;
    }
    return this.#out;
  }
}

/** What a thread is. */
class Acceptor {
  readonly #id: number;
  readonly #listener: cancelfd.TcpListener;
  readonly #now: cancelfd.CancelSource;
  /** What ends a wait: the first signal, and after it the second. */
  #cancel: cancelfd.CancelSource;
  readonly #free: Int32Array;
  #isStopping = false;
  /** The next client, if it was seen waiting while another was served. */
  #held: cancelfd.TcpSocket | null = null;
  readonly #buffer = Buffer.alloc(16_384);
  readonly sums: Sums = { connections: 0, requests: 0, cutOff: 0 };

  constructor({ id, listener, stop, now, free }: Share) {
    this.#id = id;
    this.#free = free;
    this.#listener = cancelfd.TcpListener.from(listener);
    this.#cancel = cancelfd.CancelSource.from(stop);
    this.#now = cancelfd.CancelSource.from(now);
  }

  run(): void {
    for (let client: cancelfd.TcpSocket | null; (client = this.#held ?? this.#accept()) !== null; ) {
      this.#held = null;
      this.sums.connections++;
      Atomics.sub(this.#free, 0, 1);
      this.#serve(client);
      Atomics.add(this.#free, 0, 1);
    }
  }

  /** The next client; null: there will be none. */
  #accept(): cancelfd.TcpSocket | null {
    try {
      return this.#listener.acceptSync({ cancel: this.#cancel });
    } catch (error) {
      if (error instanceof cancelfd.ClosedError) return null;
      if (!(error instanceof cancelfd.CancelledError)) throw error;
      return this.#stop() ? this.#accept() : null;
    }
  }

  /** A wait was cancelled. True: by the first signal, so it goes on, up to the last client that got through. */
  #stop(): boolean {
    if (this.#isStopping) return false;
    this.#isStopping = true;
    this.#cancel = this.#now;
    this.#listener.stopAccepting();
    return true;
  }

  #serve(socket: cancelfd.TcpSocket): void {
    using client = socket;
    let isAnswered = false;
    try {
      this.#converse(client);
      isAnswered = true;
      // A close with unread data would be a reset, which can destroy the last answer on its way.
      client.closeWrite();
      client.setReadDeadline(LIMITS.end);
      while (client.readSync(this.#buffer, { cancel: this.#now }) > 0);
    } catch (error) {
      if (error instanceof cancelfd.SystemError || isAnswered) return; // the client has gone, or has had its time
      if (!(error instanceof cancelfd.TimeoutError || error instanceof cancelfd.CancelledError)) throw error;
      this.sums.cutOff++;
      client.resetAndDestroy(); // nobody takes a part for the whole
    }
  }

  #converse(client: cancelfd.TcpSocket): void {
    let requests = 0;
    const conversation = new Conversation(
      ({ keepAlive }) => !keepAlive || ++requests >= MOST_REQUESTS || this.#isStopping || this.#othersWait(),
      ({ method, url, bodyLength }) =>
        `thread ${this.#id}, request ${++this.sums.requests}: ${method} ${url}, ${bodyLength} bytes\n`,
    );
    client.setReadDeadline(this.#isStopping ? LIMITS.stopping : LIMITS.request);
    while (!conversation.isOver) {
      const out = this.#hear(client, conversation);
      if (out === null) return;
      if (out !== "") client.writeSync(out, { timeout: LIMITS.write, cancel: this.#now });
      if (conversation.isIdle) client.setReadDeadline(this.#isStopping ? LIMITS.stopping : LIMITS.idle);
    }
  }

  /** What to write after the next bytes; null: none will come. */
  #hear(client: cancelfd.TcpSocket, conversation: Conversation): string | null {
    try {
      const count = client.readSync(this.#buffer, { cancel: this.#cancel });
      if (count === 0) return null;
      if (conversation.isIdle) client.setReadDeadline(LIMITS.request);
      return conversation.take(this.#buffer.subarray(0, count));
    } catch (error) {
      if (error instanceof cancelfd.TimeoutError && conversation.isIdle) return null;
      if (error instanceof cancelfd.TimeoutError) {
        conversation.isOver = true;
        return response("408 Request Timeout", "too slow\n", true);
      }
      if (!(error instanceof cancelfd.CancelledError) || !this.#stop()) throw error;
      // The next request may be on its way, and a close would look like an error.
      if (conversation.isIdle) client.setReadDeadline(LIMITS.stopping);
      return this.#hear(client, conversation);
    }
  }

  /** While there are more clients than threads, each has one request, and then it is the next one's turn. */
  #othersWait(): boolean {
    if (Atomics.load(this.#free, 0) > 0) return false; // that thread takes whoever waits
    try {
      this.#held ??= this.#listener.tryAccept();
      return this.#held !== null;
    } catch (error) {
      if (error instanceof cancelfd.SystemError) return true; // descriptors are short
      throw error;
    }
  }
}

/** `up`: the thread has its copies of the handles. `ended`: what it did. */
function start(share: Share): { up: Promise<unknown>; ended: Promise<Sums> } {
  const worker = new Worker(new URL(import.meta.url), { workerData: share });
  cancelfd.releaseOnExit(worker);
  worker.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
  let sums: Sums;
  worker.on("message", (said: Sums) => {
    sums = said;
  });
  return { up: once(worker, "message"), ended: once(worker, "exit").then(() => sums) };
}

function number(name: string, text: string, least: number, most: number): number {
  if (/^\d+$/.test(text) && Number(text) >= least && Number(text) <= most) return Number(text);
  throw new RangeError(`--${name} takes a number from ${least} to ${most}, not "${text}"`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "8080" },
      threads: { type: "string", default: String(2 * availableParallelism()) },
      help: { type: "boolean" },
    },
  });
  if (values.help) return console.log(USAGE);
  const threads = number("threads", values.threads, 1, 1000);
  const port = number("port", values.port, 0, 65_535);
  const [stop, now] = [new cancelfd.CancelSource(), new cancelfd.CancelSource()];
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => (stop.cancelled ? now : stop).cancel(signal));
  }
  // With reusePort the next server can listen here while this one still drains.
  const listener = cancelfd.listen({ hostname: "127.0.0.1", port, reusePort: true });
  const free = new Int32Array(new SharedArrayBuffer(4)).fill(threads);
  const shares = { listener: listener.handle, stop: stop.handle, now: now.handle, free };
  const workers = Array.from({ length: threads }, (_, index) => start({ id: index + 1, ...shares }));
  await Promise.all(workers.map(({ up }) => up));
  console.log(`listening on http://127.0.0.1:${listener.address.port}`);
  listener.close(); // a stop would wait for this copy, with which nobody accepts
  const sums = await Promise.all(workers.map(({ ended }) => ended));
  sums.forEach((sum, index) => {
    console.log(`thread ${index + 1}: ${sum.connections} connections, ${sum.requests} requests`);
  });
  const all = (of: keyof Sums) => sums.reduce((sum, one) => sum + one[of], 0);
  console.log(`in all: ${all("connections")} connections, ${all("requests")} requests, ${all("cutOff")} cut off`);
  process.exit(now.cancelled ? 1 : 0);
}

if (isMainThread) {
  main().catch((error: Error) => {
    const isUsage = error instanceof TypeError || error instanceof RangeError;
    console.error(isUsage ? `${error.message}\n${USAGE}` : error.message);
    process.exit(isUsage ? 2 : 1);
  });
} else {
  const acceptor = new Acceptor(workerData as Share);
  parentPort!.postMessage(acceptor.sums); // it is up
  acceptor.run();
  parentPort!.postMessage(acceptor.sums);
}
