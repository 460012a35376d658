/** `connect` and `connectSync`: what users pass, checked, and the dial for it. */
import { type InetAddress, ipVersion, Sockaddr } from "../../ffi/sockaddr.ts";
import { checkBoolean, checkHostname, checkKeys, checkPort, checkText, hasPath } from "../options.ts";
import {
  admit,
  attemptSync,
  type BlockingTarget,
  checkOperationOptions,
  type OperationOptions,
  type WaitOptions,
} from "../wait/attempt.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";
import type { Task } from "../wait/task.ts";
import { type TcpConnectOptions, TcpDial } from "./dial-tcp.ts";
import { UnixDial } from "./dial-unix.ts";
import { type Dial, Dialing } from "./dialing.ts";
import { checkAddresses, type LookupFunction, lookUp } from "./lookup-later.ts";
import { checkKeepAlive, type TcpSocket } from "./tcp-socket.ts";
import type { UnixSocket } from "./unix-socket.ts";

const NEVER = Number.POSITIVE_INFINITY;

/** What `connect` takes beside where to. */
export interface ConnectOptions extends OperationOptions {
  /**
   * Finds the addresses of a name, in the order to try them in. Default: the C library's resolver, in a thread of Bun's.
   * Its `signal` aborts when nobody waits any more.
   */
  lookup?: LookupFunction | undefined;
}

/** Where a Unix socket is. */
export interface UnixConnectOptions {
  /** The path that a server listens at. A first character of NUL: an abstract name (Linux). */
  path: string;
  hostname?: undefined;
  port?: undefined;
}

const tcpKeys = [
  "hostname",
  "port",
  "family",
  "localAddress",
  "localPort",
  "noDelay",
  "keepAlive",
  "fallbackDelay",
] as const;
/** The options of waiting, by the function that they are for. `connectSync` knows `signal`, to say what is wrong with it. */
const waitKeys = {
  connectSync: ["cancel", "timeout", "interruptible", "signal"],
  connect: ["cancel", "timeout", "signal"],
} as const;

type Form = keyof typeof waitKeys;

/**
 * What is looked at now and again later is the caller's no more: `keys` of `options` in an object of our own. Inherited
 * ones count, and a getter runs once.
 */
function copyOf<T extends object>(options: T, keys: readonly string[]): T {
  return Object.fromEntries(keys.map((key) => [key, (options as Record<string, unknown>)[key]])) as T;
}

type TcpOptions = TcpConnectOptions & { lookup?: LookupFunction | undefined };

/** The options, checked, and from then on our own. */
function takeTcp<T extends TcpOptions>(form: Form, options: T): T {
  const keys = [...tcpKeys, ...(form === "connect" ? ["lookup"] : []), ...waitKeys[form]];
  checkKeys(form, options, keys, ["path"]);
  const copy = copyOf(options, keys);
  const { hostname, port, family, localAddress, localPort, noDelay, fallbackDelay, keepAlive } = copy;
  checkHostname(hostname, "hostname");
  checkPort(port, "port");
  if (family !== undefined && family !== 0 && family !== 4 && family !== 6) {
    throw new RangeError(`family is 0, 4 or 6, not ${String(family)}`);
  }
  if (localAddress !== undefined) {
    checkText(localAddress, "localAddress");
    if (ipVersion(localAddress) === 0) throw new TypeError(`localAddress is an IP address, not "${localAddress}"`);
  }
  if (localPort !== undefined) checkPort(localPort, "localPort");
  checkBoolean(noDelay, "noDelay");
  if (keepAlive !== undefined) checkKeepAlive(keepAlive);
  if (typeof keepAlive === "object") copy.keepAlive = { ...keepAlive };
  if (fallbackDelay !== undefined && (typeof fallbackDelay !== "number" || !(fallbackDelay >= 0))) {
    throw new RangeError(`fallbackDelay is milliseconds, 0 or more, not ${String(fallbackDelay)}`);
  }
  return copy;
}

function takeUnix<T extends UnixConnectOptions>(form: Form, options: T): T {
  const keys = ["path", ...waitKeys[form]];
  checkKeys(form, options, keys, [], [...tcpKeys, "lookup"]);
  const copy = copyOf(options, keys);
  checkText(copy.path, "path");
  new Sockaddr().encode(copy); // throws for a path that does not fit
  return copy;
}

const CONNECT: Task<Dial<unknown>, undefined, unknown> = {
  name: "connect",
  interest: READABLE | WRITABLE,
  step: (dial) => dial.step(),
};

function dialSync<S>(dial: Dial<S> & BlockingTarget, options: WaitOptions): S {
  const { cancel, timeout, interruptible } = options;
  try {
    const waiting = { cancel, timeout, interruptible, signal: (options as { signal?: unknown }).signal };
    return attemptSync(CONNECT as Task<typeof dial, undefined, S>, dial, undefined, NEVER, waiting);
  } catch (error) {
    dial.abandon();
    throw error;
  }
}

function dialLater<S>(dial: Dial<S>, options: OperationOptions, family: 0 | 4 | 6, lookup: LookupFunction): Promise<S> {
  const { cancel, timeout, signal } = options;
  const entry = admit("connect", dial, 0, NEVER, { cancel, timeout, signal }, checkOperationOptions);
  const hostname = dial.unknownHost;
  const abandoned = new AbortController();
  const dialing = new Dialing(dial, entry, () => {
    if (dial.unknownHost !== null) abandoned.abort();
  });
  if (hostname === null) {
    dialing.go();
  } else {
    dialing.reschedule(); // the deadline is that of the lookup, too
    dialing.check(); // a pipe that was only just put up may have missed the ring
    if (dialing.settled) return dialing.promise;
    new Promise<InetAddress[]>((resolve) => resolve(lookup(hostname, { family, signal: abandoned.signal })))
      .then((found) => {
        dial.found(lookup === lookUp ? found : checkAddresses(hostname, found));
        dialing.go();
      })
      .catch((error: unknown) => dialing.fail(error));
  }
  return dialing.promise;
}

/**
 * Connects. Lookup, handshake and the change to another address of the name are under the one `timeout`, and can be
 * cancelled at any instant: then there is no socket and no open descriptor. A cancel after success does nothing to the
 * socket.
 *
 * Rejected with `SystemError` (`ECONNREFUSED`, `ENOTFOUND`, …; `errors` has one for each address of a name),
 * `CancelledError`, the `reason` of the signal, `TimeoutError`, `TypeError`, `RangeError`.
 *
 * ```ts
 * await using socket = await connect({ hostname: "example.com", port: 80, timeout: 3000, signal });
 * await using local = await connect({ path: "/run/server.sock", cancel });
 * ```
 */
export function connect(options: TcpConnectOptions & ConnectOptions): Promise<TcpSocket>;
export function connect(options: UnixConnectOptions & OperationOptions): Promise<UnixSocket>;
export function connect(
  options: (TcpConnectOptions & ConnectOptions) | (UnixConnectOptions & OperationOptions),
): Promise<TcpSocket | UnixSocket>;
export async function connect(
  options: (TcpConnectOptions & ConnectOptions) | (UnixConnectOptions & OperationOptions),
): Promise<TcpSocket | UnixSocket> {
  if (hasPath(options, tcpKeys)) {
    const own = takeUnix("connect", options);
    return dialLater(new UnixDial(own.path), own, 0, lookUp);
  }
  const own = takeTcp("connect", options);
  const { family = 0, lookup = lookUp } = own;
  if (typeof lookup !== "function") throw new TypeError("lookup is a function that resolves to addresses");
  return dialLater(new TcpDial(own), own, family, lookup);
}

/**
 * Connects, and blocks this thread until the connection stands. Lookup, handshake and the change to another address of
 * the name are under the one `timeout`, and can be cancelled at any instant: then there is no socket and no open
 * descriptor. A cancel after success does nothing to the socket.
 *
 * Throws `SystemError` (`ECONNREFUSED`, `ENOTFOUND`, …; `errors` has one for each address of a name), `CancelledError`,
 * `TimeoutError`, `TypeError`, `RangeError`.
 *
 * ```ts
 * using socket = connectSync({ hostname: "example.com", port: 80, timeout: 3000 });
 * using local = connectSync({ path: "/run/server.sock", cancel });
 * ```
 */
export function connectSync(options: TcpConnectOptions & WaitOptions): TcpSocket;
export function connectSync(options: UnixConnectOptions & WaitOptions): UnixSocket;
export function connectSync(options: (TcpConnectOptions | UnixConnectOptions) & WaitOptions): TcpSocket | UnixSocket;
export function connectSync(options: (TcpConnectOptions | UnixConnectOptions) & WaitOptions): TcpSocket | UnixSocket {
  if ((options as { lookup?: unknown } | null)?.lookup !== undefined) {
    throw new TypeError(
      "connectSync takes no lookup function: it would have to wait for a promise. Pass an IP address",
    );
  }
  if (hasPath(options, tcpKeys)) {
    const own = takeUnix("connectSync", options);
    return dialSync(new UnixDial(own.path), own);
  }
  const own = takeTcp("connectSync", options);
  return dialSync(new TcpDial(own), own);
}
