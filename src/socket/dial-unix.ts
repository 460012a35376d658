/** Connecting to a path. */
import { monotonic } from "../../ffi/clock.ts";
import { constants } from "../../ffi/platform/index.ts";
import { connect, getsockopt, socket } from "../../ffi/socket.ts";
import { SystemError } from "../errors.ts";
import { own } from "../shared/ledger.ts";
import type { BlockingTarget } from "../wait/attempt.ts";
import { StreamCore } from "./core.ts";
import { KIND, UnixSocket } from "./unix-socket.ts";

const { AF_UNIX, SO_ERROR, SOCK_STREAM, SOL_SOCKET } = constants;
const NEVER = Number.POSITIVE_INFINITY;
/** Milliseconds between two tries while the server's backlog is full: doubled each time. */
const FIRST_PAUSE = 1;
const LONGEST_PAUSE = 50;

/** One connect. A full backlog is EAGAIN here, not EINPROGRESS, and nothing tells when it has room: try again and again. */
export class UnixDial implements BlockingTarget {
  readonly ownSource = null;
  wakeAt = NEVER;
  deaf = false;
  readonly #path: string;
  #core: StreamCore | null = null;
  #pause = FIRST_PAUSE;
  #inProgress = false;

  constructor(path: string) {
    this.#path = path;
  }

  closedError(): null {
    return null;
  }

  isBusy(): false {
    return false;
  }

  readonly unknownHost = null;
  /** A path needs no lookup. */
  found(): void {}

  /** The attempt, once there is something to wait for. */
  get attempts(): readonly StreamCore[] {
    return this.#core === null || this.deaf ? [] : [this.#core];
  }

  get park(): StreamCore["park"] {
    return this.#core!.park;
  }

  step(): UnixSocket | null {
    this.#core ??= new StreamCore(own(socket(AF_UNIX, SOCK_STREAM)), KIND);
    const connected = this.#inProgress ? this.#finish() : connect(this.#core.fd, { path: this.#path });
    if (connected === true) {
      const core = this.#core;
      this.#core = null;
      core.awaitReadiness();
      return UnixSocket.adopt(core);
    }
    this.#inProgress = connected === false; // not on Linux
    this.deaf = connected === null;
    this.wakeAt = this.deaf ? monotonic() + this.#pause : NEVER;
    if (this.deaf) this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
    return null;
  }

  #finish(): true {
    const error = getsockopt(this.#core!.fd, SOL_SOCKET, SO_ERROR);
    if (error !== 0) throw new SystemError("connect", error, { address: this.#path });
    return true;
  }

  abandon(): void {
    this.#core?.close();
    this.#core = null;
  }
}
