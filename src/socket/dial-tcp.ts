/** Connecting over TCP: lookup, the race of addresses (RFC 8305), and the proof that a connection stands. */
import { monotonic } from "../../ffi/clock.ts";
import { constants } from "../../ffi/platform/index.ts";
import type { Lookup } from "../../ffi/resolve.ts";
import { type InetAddress, ipVersion } from "../../ffi/sockaddr.ts";
import * as sys from "../../ffi/socket.ts";
import { SystemError } from "../errors.ts";
import { ledger, own } from "../shared/ledger.ts";
import type { BlockingTarget } from "../wait/attempt.ts";
import { Park } from "../wait/park.ts";
import { TcpCore } from "./core.ts";
import { type Family, interleave, knownAddresses, startLookup } from "./lookup.ts";
import { applyKeepAlive, type KeepAlive, KIND, TcpSocket } from "./tcp-socket.ts";

const { AF_INET, AF_INET6, ECONNREFUSED, IPPROTO_TCP, SO_ERROR, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, TCP_NODELAY } =
  constants;
const NEVER = Number.POSITIVE_INFINITY;
/** RFC 8305 section 5: the recommended delay. */
const FALLBACK_DELAY = 250;
/** A loopback connect from an ephemeral port can meet itself (1 in some 6,000 to a closed port of that range). */
const SELF_CONNECT_RETRIES = 3;

/** How `connect` and `connectSync` connect over TCP, beside where to. */
export interface TcpConnectOptions {
  /** An IP address, `localhost`, or a name, which is looked up under the same deadline and cancel. */
  hostname: string;
  port: number;
  path?: undefined;
  /** 4 or 6: addresses of that family only. Default 0: both. */
  family?: Family | undefined;
  /** The IP address to connect from. Default: the kernel's choice. */
  localAddress?: string | undefined;
  /** The port to connect from. Default 0: any free one. */
  localPort?: number | undefined;
  /** Send small writes at once. Default true. */
  noDelay?: boolean | undefined;
  /** Probe a silent peer. Default false. */
  keepAlive?: KeepAlive | undefined;
  /**
   * Milliseconds until a further address of the name is tried beside the one that has not answered; a refusal starts it
   * at once. Default 250; Infinity: one after the other.
   */
  fallbackDelay?: number | undefined;
}

/** One connect from name to socket: an operation whose step starts, watches and ends the attempts. */
export class TcpDial implements BlockingTarget {
  readonly ownSource = null;
  readonly deaf = false;
  wakeAt = NEVER;
  readonly #options: TcpConnectOptions;
  readonly #fallbackDelay: number;
  #lookup: Lookup | null = null;
  #addresses: InetAddress[] | null;
  /** The next address to try. */
  #next = 0;
  readonly #racing: TcpCore[] = [];
  readonly #errors = new Map<InetAddress, Error>();
  #selfConnects = 0;
  #park: Park | null = null;

  constructor(options: TcpConnectOptions) {
    this.#options = options;
    this.#fallbackDelay = options.fallbackDelay ?? FALLBACK_DELAY;
    const known = knownAddresses(options.hostname, options.port, options.family ?? 0);
    this.#addresses = known && this.#usable(known);
  }

  closedError(): null {
    return null;
  }

  isBusy(): false {
    return false;
  }

  /** The name whose addresses are not known yet; null if there is nothing to look up. */
  get unknownHost(): string | null {
    return this.#addresses === null ? this.#options.hostname : null;
  }

  /** The addresses of the name, from elsewhere than libc's resolver. */
  found(addresses: readonly InetAddress[]): void {
    this.#addresses = this.#usable(addresses.map((address) => ({ ...address, port: this.#options.port })));
  }

  /** The attempts under way. */
  get attempts(): readonly TcpCore[] {
    return this.#racing;
  }

  /** What there is to wait for: the lookup, the only attempt (then its socket keeps the selector), or all of them. */
  get park(): Park {
    if (this.#park === null) {
      const only = this.#addresses?.length === 1 ? this.#racing[0] : undefined;
      if (only !== undefined) return only.park;
      this.#park = this.#lookup === null ? new Park(...this.#racing.map((core) => core.fd)) : new Park(this.#lookup.fd);
    }
    return this.#park;
  }

  step(): TcpSocket | null {
    if (this.#addresses === null && !this.#resolve()) return null;
    const addresses = this.#addresses!;
    for (const core of [...this.#racing]) {
      const connected = this.#settle(core);
      if (connected) return this.#win(core);
    }
    while (this.#next < addresses.length && (this.#racing.length === 0 || monotonic() >= this.wakeAt)) {
      const core = this.#start(addresses[this.#next]!);
      if (core !== null) return this.#win(core);
    }
    if (this.#racing.length === 0) throw this.#failure();
    if (this.#next >= addresses.length) this.wakeAt = NEVER;
    return null;
  }

  /** True once the addresses are known. */
  #resolve(): boolean {
    const { hostname, family = 0 } = this.#options;
    if (this.#lookup === null) {
      const started = startLookup(hostname, family);
      if (!Array.isArray(started)) {
        this.#lookup = started;
        own(started.fd);
        return false;
      }
      this.found(started);
      return true;
    }
    if (!this.#lookup.done) return false;
    this.found(this.#takeLookup().finish());
    return true;
  }

  /** The addresses in the order to try them in, less those that `localAddress` cannot reach. Throws `TypeError` if none is left. */
  #usable(addresses: InetAddress[]): InetAddress[] {
    const { hostname, localAddress } = this.#options;
    if (localAddress === undefined) return interleave(addresses);
    const family = `IPv${ipVersion(localAddress)}`;
    const reachable = addresses.filter((address) => address.family === family);
    if (reachable.length === 0) throw new TypeError(`localAddress is an ${family} address, and "${hostname}" has none`);
    return interleave(reachable);
  }

  /** For its last call, which closes its descriptor: out of the park and the ledger first. */
  #takeLookup(): Lookup {
    this.#park?.close();
    this.#park = null;
    const lookup = this.#lookup!;
    this.#lookup = null;
    ledger().disown(lookup.fd);
    return lookup;
  }

  /**
   * Begins an attempt, and returns it if it has succeeded already. Null: it is in the race, or failed at once, and its
   * error is kept. The next one is due after the delay.
   */
  #start(address: InetAddress): TcpCore | null {
    this.#next++;
    this.wakeAt = this.#fallbackDelay === NEVER ? NEVER : monotonic() + this.#fallbackDelay;
    let core: TcpCore | null = null;
    try {
      core = new TcpCore(own(sys.socket(address.family === "IPv4" ? AF_INET : AF_INET6, SOCK_STREAM)), KIND);
      core.remoteAddress = address;
      this.#prepare(core.fd, address);
      const connected = sys.connect(core.fd, address);
      this.#racing.push(core);
      this.#park?.add(core.fd);
      return connected && this.#settle(core) ? core : null;
    } catch (error) {
      if (core !== null && this.#racing.includes(core)) {
        this.#drop(core, address, error as Error);
      } else {
        core?.close();
        this.#errors.set(address, error as Error);
      }
      return null;
    }
  }

  #prepare(fd: number, address: InetAddress): void {
    const { localAddress, localPort = 0, noDelay = true, keepAlive = false } = this.#options;
    if (noDelay) sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (keepAlive !== false) applyKeepAlive(fd, keepAlive);
    if (localAddress === undefined && localPort === 0) return;
    if (localPort !== 0) sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    const any = address.family === "IPv4" ? "0.0.0.0" : "::";
    sys.bind(fd, { address: localAddress ?? any, port: localPort, family: address.family });
  }

  /** True: connected. False: in progress still, or failed and out of the race. */
  #settle(core: TcpCore): boolean {
    const address = core.remoteAddress!;
    const error = sys.getsockopt(core.fd, SOL_SOCKET, SO_ERROR); // reading it clears it: once, and not by a second connect
    if (error !== 0) {
      this.#drop(core, address, new SystemError("connect", error, address));
      return false;
    }
    // A writable socket without an error may not be connected yet (Go issues 14548 and 19289): only a peer proves it.
    const remote = sys.getpeername(core.fd);
    if (remote === null) return false;
    const local = sys.getsockname(core.fd) as InetAddress;
    if (local.port === (remote as InetAddress).port && local.address === (remote as InetAddress).address) {
      // Nobody listens there: a port of the ephemeral range was chosen as our own, and TCP's simultaneous open did the rest.
      this.#drop(core, address, new SystemError("connect", ECONNREFUSED, address));
      if (!this.#options.localPort && ++this.#selfConnects < SELF_CONNECT_RETRIES) {
        this.#addresses!.splice(this.#next, 0, address);
      }
      return false;
    }
    core.localAddress = local;
    core.remoteAddress = remote as InetAddress;
    return true;
  }

  #drop(core: TcpCore, address: InetAddress, error: Error): void {
    this.#errors.set(address, error);
    this.#racing.splice(this.#racing.indexOf(core), 1);
    this.#park?.delete(core.fd);
    core.close();
  }

  #win(winner: TcpCore): TcpSocket {
    this.#racing.splice(this.#racing.indexOf(winner), 1);
    this.abandon();
    winner.awaitReadiness(); // what had its events is over; kept by them, it would keep the socket from being collected
    return TcpSocket.adopt(winner);
  }

  /** Closes what the race has open, and lets go of the lookup. */
  abandon(): void {
    if (this.#lookup !== null) this.#takeLookup().abandon();
    this.#park?.close();
    this.#park = null;
    for (const core of this.#racing.splice(0)) core.close();
  }

  /** The first address's error: it is the one that the resolver, or the user, preferred. */
  #failure(): Error {
    const tried = new Set(this.#addresses);
    const errors = [...tried].map((address) => this.#errors.get(address)!);
    const first = errors[0]!;
    // Not enumerable: it has itself among them, and a logger that writes JSON would fail on that.
    if (errors.length > 1) Object.defineProperty(first, "errors", { value: errors });
    return first;
  }
}
