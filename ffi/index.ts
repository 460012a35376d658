/**
 * `cancelfd/ffi`: the binding alone. One thin typed wrapper a libc call, nothing of cancellation.
 *
 * @module
 */
export { monotonic } from "./clock.ts";
export * from "./constants.ts";
export { Epoll, type EpollEvent } from "./epoll.ts";
export { EventFd } from "./eventfd.ts";
export { close, fcntl } from "./fd.ts";
export { Pipe } from "./pipe.ts";
export { PollSet } from "./poll.ts";
export { getaddrinfo } from "./resolve.ts";
export { type InetAddress, ipVersion, Sockaddr, type UnixAddress } from "./sockaddr.ts";
export {
  accept4,
  bind,
  connect,
  getpeername,
  getsockname,
  getsockopt,
  listen,
  recv,
  send,
  sendmsg,
  setsockopt,
  shutdown,
  socket,
} from "./socket.ts";
export { errnoName, SystemError, type SystemErrorDetails } from "./system-error.ts";
export { TimerFd } from "./timerfd.ts";
