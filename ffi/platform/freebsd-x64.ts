/**
 * FreeBSD on x86-64, from its headers as published; not compiled. What is not here is as on macOS: the other constants,
 * the layouts, and the name of errno.
 */
import { darwinX64 } from "./darwin-x64.ts";
import { ABSENT, type Platform } from "./platform.ts";

export const freebsdX64: Platform = {
  ...darwinX64,
  libc: "libc.so.7",
  constants: {
    ...darwinX64.constants,
    AF_INET6: 28,
    SOCK_NONBLOCK: 0x20000000,
    SOCK_CLOEXEC: 0x10000000,
    SO_REUSEPORT_LB: 0x10000,
    SO_NOSIGPIPE: 2048,
    TCP_KEEPIDLE: 256,
    TCP_KEEPALIVE: ABSENT,
    TCP_KEEPINTVL: 512,
    TCP_KEEPCNT: 1024,
    TCP_FASTOPEN: 1025,
    TCP_INFO: 32,
    MSG_NOSIGNAL: 0x20000,
    O_CLOEXEC: 0x100000,
    F_DUPFD_CLOEXEC: 17,
    EFD_CLOEXEC: 0x100000,
    EFD_NONBLOCK: 4,
    EFD_SEMAPHORE: 1,
    TFD_CLOEXEC: 0x100000,
    TFD_NONBLOCK: 4,
    TFD_TIMER_ABSTIME: 1,
    POLLRDHUP: 16384,
    EVFILT_USER: -11,
    CLOCK_MONOTONIC: 4,
    EPROTO: 92,
    ENOSR: ABSENT,
    EOPNOTSUPP: 45,
    EAI_NODATA: ABSENT,
    AI_NUMERICSERV: 8,
    SIGEV_THREAD: 2,
  },
};
