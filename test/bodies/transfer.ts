/** One connection in a thread of its own, so that the main thread is free to feed the program at the other end. */
import { createHash, randomBytes } from "node:crypto";
import { connectSync, type ListenerHandle, TcpListener, type TcpSocket } from "../../src/index.ts";
import type { Context } from "../thread.ts";

/** Where the connection comes from, and what is done with it. */
export interface Job {
  listener?: ListenerHandle;
  port?: number;
  /** So many random bytes, or this text, go out before anything is read. Then this side ends. */
  send?: number | string;
}

/** What went over the connection, as SHA-256. */
export interface Transfer {
  sent: string;
  received: string;
  bytesRead: number;
  bytesWritten: number;
  /** The end of what was received. */
  text: string;
}

const limits = { timeout: 30_000 };

function open({ listener, port }: Job): TcpSocket {
  if (listener === undefined) return connectSync({ hostname: "127.0.0.1", port: port!, ...limits });
  using copy = TcpListener.from(listener);
  return copy.acceptSync(limits);
}

export function transfer({ say }: Context, job: Job): void {
  using socket = open(job);
  const data = typeof job.send === "string" ? Buffer.from(job.send) : randomBytes(job.send ?? 0);
  socket.writeSync(data, limits);
  socket.closeWrite();
  const received = createHash("sha256");
  const buffer = new Uint8Array(100_000);
  let text = "";
  for (let count: number; (count = socket.readSync(buffer, limits)) > 0; ) {
    received.update(buffer.subarray(0, count));
    text = Buffer.from(buffer.subarray(Math.max(0, count - 100), count)).toString("latin1");
  }
  const { bytesRead, bytesWritten } = socket;
  const sent = createHash("sha256").update(data).digest("hex");
  say({ sent, received: received.digest("hex"), bytesRead, bytesWritten, text } satisfies Transfer);
}

/** A tiny HTTP server, for so many requests: GET answers `body`, anything else the SHA-256 of what was sent. */
export function http({ say }: Context, { listener, body, requests }: HttpJob): void {
  using copy = TcpListener.from(listener);
  for (let i = 0; i < requests; i++) {
    using socket = copy.acceptSync(limits);
    let head = "";
    const buffer = new Uint8Array(100_000);
    const content = createHash("sha256");
    while (!head.includes("\r\n\r\n")) {
      const count = socket.readSync(buffer, limits);
      if (count === 0) throw new Error(`the request ends early: ${head}`);
      head += Buffer.from(buffer.subarray(0, count)).toString("latin1");
    }
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    if (/^expect: 100-continue/im.test(head)) socket.writeSync("HTTP/1.1 100 Continue\r\n\r\n", limits);
    const early = Buffer.from(head.slice(head.indexOf("\r\n\r\n") + 4), "latin1");
    content.update(early);
    for (let left = length - early.byteLength; left > 0; ) {
      const count = socket.readSync(buffer, limits);
      if (count === 0) throw new Error(`the body ends ${left} bytes early`);
      content.update(buffer.subarray(0, count));
      left -= count;
    }
    const answer = head.startsWith("GET") ? body : Buffer.from(content.digest("hex"));
    const status = `HTTP/1.1 200 OK\r\nContent-Length: ${answer.byteLength}\r\nConnection: close\r\n\r\n`;
    socket.writevSync([Buffer.from(status), answer], limits);
    say(head.slice(0, head.indexOf("\r\n")));
  }
}

export interface HttpJob {
  listener: ListenerHandle;
  body: Uint8Array;
  requests: number;
}
