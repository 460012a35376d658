/** What sockets and listeners have in common: a descriptor, deadlines, a source of their own, options, an end. */
import { getsockopt, setsockopt } from "../../ffi/socket.ts";
import type { CancelSource } from "../cancel/source.ts";
import { checkCount } from "../options.ts";
import { keep, letGo } from "../shared/dropped.ts";
import { READABLE, WRITABLE } from "../wait/readiness.ts";
import type { When } from "../when.ts";
import { SocketCore } from "./core.ts";

/** The core behind a socket or a listener. */
export let coreOfSocket: (socket: CancellableSocket) => SocketCore;

/** What sockets and listeners have in common. */
export abstract class CancellableSocket implements Disposable {
  readonly #core: SocketCore;

  /** @internal */
  constructor(core: SocketCore) {
    if (!(core instanceof SocketCore)) throw new TypeError(`${new.target.name} has no public constructor`);
    this.#core = core;
  }

  static {
    coreOfSocket = (socket) => socket.#core;
  }

  /** The descriptor, non-blocking and close-on-exec; -1 once closed. It stays this object's: do not close it. */
  get fd(): number {
    return this.#core.closed ? -1 : this.#core.fd;
  }

  /** True once this side has closed it. */
  get closed(): boolean {
    return this.#core.closed;
  }

  /**
   * Its own source, watched by all its operations: give its `handle` to another thread, and that thread can stop them.
   * Throws `ClosedError` if it is first asked for after `close`.
   */
  get cancelSource(): CancelSource {
    return this.#core.cancelSource;
  }

  /** Stops every pending operation with `CancelledError`; later ones work. It is `cancelSource.cancel` and `reset`. */
  cancel(reason?: unknown): void {
    this.#core.cancel(reason);
  }

  /**
   * No operation succeeds by waiting beyond `when`: they fail with `TimeoutError` until it is set anew; `null` clears
   * it. Data that is there already does not help an expired one. Throws `ClosedError`, `RangeError`, `TypeError`.
   */
  setDeadline(when: When): void {
    this.#core.setDeadline(when, READABLE | WRITABLE);
  }

  /** An option that is an int; getsockopt(2). `level` and `name` are numbers from `cancelfd/ffi`. */
  getOption(level: number, name: number): number {
    checkOption(level, name);
    this.#core.assertOpen();
    return getsockopt(this.#core.fd, level, name);
  }

  /** Sets it; setsockopt(2). Throws `SystemError` if the kernel refuses. */
  setOption(level: number, name: number, value: number): void {
    checkOption(level, name);
    checkCount(value, "value", -0x8000_0000, 0xffff_ffff);
    this.#core.assertOpen();
    setsockopt(this.#core.fd, level, name, value);
  }

  /** The process stays for as long as this is open, also while nothing is pending on it. */
  ref(): this {
    if (this.#core.setStay("while open")) keep(this, "ref");
    return this;
  }

  /** The process does not stay for this, not even while something is pending on it. */
  unref(): this {
    if (this.#core.setStay("never")) letGo(this, "ref");
    return this;
  }

  /** Closes it at once. Idempotent. Pending operations, and those after it, fail with `ClosedError`. */
  close(): void {
    letGo(this);
    this.#core.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function checkOption(level: number, name: number): void {
  for (const [value, what] of [
    [level, "level"],
    [name, "name"],
  ] as const) {
    if (Number.isNaN(value)) throw new RangeError(`this platform has no such socket option: its ${what} is NaN`);
    checkCount(value, what, 0, 0x7fff_ffff);
  }
}
