/**
 * cancelfd: cancellable sockets for Bun.
 *
 * @module
 */
import "./web-types.ts";

export type { InetAddress, UnixAddress } from "../ffi/sockaddr.ts";
export type { CancelHandle } from "./cancel/handle.ts";
export { CancelSource, type Parent } from "./cancel/source.ts";
export { CancelToken } from "./cancel/token.ts";
export { BusyError, CancelledError, ClosedError, QueueFullError, SystemError, TimeoutError } from "./errors.ts";
export type { Interest, Pollable, PollEvent } from "./queue/poll-event.ts";
export { Poller, type PollerWaitOptions } from "./queue/poller.ts";
export type { PollerHandle } from "./queue/poller-core.ts";
export type { QueueHandle } from "./queue/queue-memory.ts";
export { type QueueOptions, WakeQueue } from "./queue/wake-queue.ts";
export type { Handler, HandlerContext, OnError } from "./serve/connection.ts";
export type { ShutdownResult } from "./serve/counts.ts";
export { type ServeOptions, Server, serve } from "./serve/server.ts";
export {
  type OnCrash,
  type ServeThreadsOptions,
  serveThreads,
  ThreadedServer,
  type ThreadStatus,
} from "./serve/server-threads.ts";
export type { ShutdownOptions } from "./serve/shutdown-options.ts";
export type { Signal } from "./serve/stop-signals.ts";
export { releaseOnExit } from "./shared/release-on-exit.ts";
export { type ConnectOptions, connect, connectSync, type UnixConnectOptions } from "./socket/connect.ts";
export type { TcpConnectOptions } from "./socket/dial-tcp.ts";
export { type InetListenOptions, type ListenOptions, listen, type UnixListenOptions } from "./socket/listen.ts";
export type { StopOptions } from "./socket/listener.ts";
export type { ListenerHandle } from "./socket/listening-fd.ts";
export type { LookupFunction } from "./socket/lookup-later.ts";
export type { SocketHandle } from "./socket/socket-handle.ts";
export { TcpListener } from "./socket/tcp-listener.ts";
export type { KeepAlive } from "./socket/tcp-socket.ts";
export { TcpSocket } from "./socket/tcp-socket.ts";
export { UnixListener } from "./socket/unix-listener.ts";
export { UnixSocket } from "./socket/unix-socket.ts";
export type { OperationOptions, WaitOptions } from "./wait/attempt.ts";
export type { When } from "./when.ts";
