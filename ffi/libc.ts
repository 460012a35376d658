/**
 * The symbol table of libc, opened once a thread, and the thread's errno.
 *
 * `libc` is a plain object whose members a test may replace: that is the seam for fault injection, the only place
 * that knows how to lie about the kernel. Nothing is wrapped for its sake, so it is free when unused.
 */
import { dlopen, type FFIFunction, type Pointer, toArrayBuffer } from "bun:ffi";
import type { View } from "./memory.ts";
import { constants, platform } from "./platform/index.ts";

const int = "i32";
const pointer = "ptr";
const size = "usize";
/** ssize_t: `i64_fast` arrives as a number, where `i64` would allocate a BigInt a call. */
const ssize = "i64_fast";

type Argument = typeof int | typeof pointer | typeof size;
type Result = typeof int | typeof pointer | typeof ssize | "void";
interface Signature<A extends readonly Argument[] = readonly Argument[]> {
  readonly args: A;
  readonly returns: Result;
}
const call = <const A extends readonly Argument[]>(returns: Result, ...args: A): Signature<A> => ({ args, returns });

/** What every POSIX libc has. A missing one is a platform that we do not know: dlopen's own error is the right one. */
const everywhere = {
  accept: call(int, int, pointer, pointer),
  bind: call(int, int, pointer, int),
  calloc: call(pointer, size, size),
  clock_gettime: call(int, int, pointer),
  close: call(int, int),
  connect: call(int, int, pointer, int),
  dlsym: call(pointer, pointer, pointer),
  fcntl: call(int, int, int, int),
  free: call("void", pointer),
  freeaddrinfo: call("void", pointer),
  gai_strerror: call(pointer, int),
  getaddrinfo: call(int, pointer, pointer, pointer, pointer),
  getpeername: call(int, int, pointer, pointer),
  getsockname: call(int, int, pointer, pointer),
  getsockopt: call(int, int, int, int, pointer, pointer),
  if_indextoname: call(pointer, int, pointer),
  if_nametoindex: call(int, pointer),
  inet_ntop: call(pointer, int, pointer, pointer, int),
  inet_pton: call(int, int, pointer, pointer),
  listen: call(int, int, int),
  malloc: call(pointer, size),
  memcpy: call(pointer, pointer, pointer, size),
  pipe: call(int, pointer),
  poll: call(int, pointer, int, int),
  read: call(ssize, int, pointer, size),
  recv: call(ssize, int, pointer, size, int),
  send: call(ssize, int, pointer, size, int),
  sendmsg: call(ssize, int, pointer, int),
  setsockopt: call(int, int, int, int, pointer, int),
  shutdown: call(int, int, int),
  socket: call(int, int, int, int),
  write: call(ssize, int, pointer, size),
} as const;

/** What some have. A missing one answers ENOSYS, as an old kernel would, so that each fallback has one trigger. */
const somewhere = {
  accept4: call(int, int, pointer, pointer, int),
  epoll_create1: call(int, int),
  epoll_ctl: call(int, int, int, int, pointer),
  epoll_pwait2: call(int, int, pointer, int, pointer, pointer),
  epoll_wait: call(int, int, pointer, int, int),
  eventfd: call(int, int, int),
  pipe2: call(int, pointer, int),
  ppoll: call(int, pointer, int, pointer, pointer),
  timerfd_create: call(int, int, int),
  timerfd_settime: call(int, int, int, pointer, pointer),
} as const;

/** getaddrinfo_a(3) and what belongs to it: glibc's alone, all in one library. */
const lookups = {
  gai_cancel: call(int, pointer),
  gai_error: call(int, pointer),
  getaddrinfo_a: call(int, int, pointer, int, pointer),
} as const;

type Value<A> = A extends typeof pointer ? View | number | null : number;
type Values<A extends readonly Argument[]> = { -readonly [K in keyof A]: Value<A[K]> };
/** Pointers come back as numbers: Bun's branded `Pointer` would pull bun:ffi's types into ours. NULL is null. */
type Call<S> = S extends Signature<infer A> ? (...args: Values<A>) => number : never;
/** Not readonly, as the tables are: a test may replace a member. */
type Calls<T> = { -readonly [K in keyof T]: Call<T[K]> };
type Libc = Calls<typeof everywhere> & Calls<typeof somewhere> & Calls<typeof lookups>;

type Symbols = Record<string, (...args: never[]) => unknown>;
function open(library: string, table: Record<string, Signature>): Symbols {
  // bun-types wants mutable argument lists; the table is read, never changed.
  return dlopen(library, table as unknown as Record<string, FFIFunction>).symbols as Symbols;
}

const errnoAddress = open(platform.libc, { [platform.errnoSymbol]: call(pointer) })[platform.errnoSymbol]!;
/** errno of this thread: its address never moves (191 million reads), and no other thread can write to it. */
const errnoCell = new Int32Array(toArrayBuffer(errnoAddress() as Pointer, 0, 4));

/** The error number that the call in the statement before left behind; read it nowhere else. */
export function errno(): number {
  return errnoCell[0]!;
}

/** For the fault seam: a replaced call sets what it fails with, and returns -1. */
export function setErrno(value: number): void {
  errnoCell[0] = value;
}

function missing(): number {
  setErrno(constants.ENOSYS);
  return -1;
}

/** The table's calls from the first of these libraries that has them all. Where none does, each answers ENOSYS. */
function openOptional(libraries: readonly string[], table: Record<string, Signature>): Symbols {
  for (const library of libraries) {
    try {
      return open(library, table);
    } catch {
      // Bun names a missing symbol only in the message; that it is missing is all there is to know.
    }
  }
  return Object.fromEntries(Object.keys(table).map((name) => [name, missing]));
}

/** Apple's arm64 ABI: the variadic argument is on the stack, so unused arguments fill the registers before it. */
function openFcntl(padding: number): Libc["fcntl"] {
  if (padding === 0) return open(platform.libc, { fcntl: everywhere.fcntl }).fcntl as Libc["fcntl"];
  const padded = call(int, int, int, ...Array<typeof int>(padding).fill(int), int);
  const fcntl = open(platform.libc, { fcntl: padded }).fcntl as (...args: number[]) => number;
  const unused = Array<number>(padding).fill(0);
  return (fd, command, argument) => fcntl(fd, command, ...unused, argument);
}

const optional: Symbols = openOptional(platform.lookupLibraries, lookups);
for (const [name, signature] of Object.entries(somewhere)) {
  Object.assign(optional, openOptional([platform.libc], { [name]: signature }));
}

export const libc = {
  ...open(platform.libc, everywhere),
  ...optional,
  fcntl: openFcntl(platform.variadicPadding),
} as unknown as Libc; // the table above is where the types come from; dlopen's own are one union for all symbols
