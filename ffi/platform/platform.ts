/**
 * What a platform is to this library: data. The library's name, where errno lives, constants and struct layouts.
 * Source of the figures: test/fixtures/platform-constants.json, which test/platform.test.ts compares with these files.
 */
import type { ConstantName } from "./linux-x64-gnu.ts";

/** The value of a constant that a platform lacks. A NaN matches no flag, no option and no error number. */
export const ABSENT = Number.NaN;

/** Where a struct's fields lie: field → [byte offset, bytes]. */
export interface Struct<Field extends string> {
  readonly size: number;
  readonly fields: Readonly<Record<Field, readonly [offset: number, bytes: number]>>;
}

export interface Structs {
  readonly sockaddr_in: Struct<"sin_family" | "sin_port" | "sin_addr">;
  readonly sockaddr_in6: Struct<"sin6_family" | "sin6_port" | "sin6_flowinfo" | "sin6_addr" | "sin6_scope_id">;
  readonly sockaddr_un: Struct<"sun_family" | "sun_path">;
  readonly msghdr: Struct<
    "msg_name" | "msg_namelen" | "msg_iov" | "msg_iovlen" | "msg_control" | "msg_controllen" | "msg_flags"
  >;
  readonly addrinfo: Struct<
    "ai_flags" | "ai_family" | "ai_socktype" | "ai_protocol" | "ai_addrlen" | "ai_addr" | "ai_canonname" | "ai_next"
  >;
  /** Linux only. Packed on x86-64, and only there. */
  readonly epoll_event?: Struct<"events" | "data">;
  /** Linux only: a program of classic BPF, and an instruction of one. */
  readonly sock_fprog?: Struct<"len" | "filter">;
  readonly sock_filter?: Struct<"code" | "jt" | "jf" | "k">;
  /** Linux only: what TCP_INFO tells, as far as it is used here. */
  readonly tcp_info?: Struct<"tcpi_rtt">;
  /** glibc only (getaddrinfo_a). */
  readonly gaicb?: Struct<"ar_name" | "ar_service" | "ar_request" | "ar_result">;
  /** Used with `gaicb`. */
  readonly sigevent?: Struct<
    "sigev_value" | "sigev_signo" | "sigev_notify" | "sigev_notify_function" | "sigev_notify_attributes"
  >;
}

export interface Platform {
  /** The name that dlopen(3) finds libc under. */
  readonly libc: string;
  /** Where getaddrinfo_a may be, to be tried in this order; none where libc has no such call. */
  readonly lookupLibraries: readonly string[];
  /** The function that returns the address of this thread's errno. */
  readonly errnoSymbol: string;
  /**
   * How many unused register arguments stand between the named arguments of a variadic function (fcntl) and its
   * variadic one. Apple's arm64 ABI passes variadic arguments on the stack, so six of them fill the registers.
   */
  readonly variadicPadding: 0 | 6;
  readonly constants: Readonly<Record<ConstantName, number>>;
  readonly structs: Structs;
}
