/** The descriptor of a listener, and the file of a Unix one, shared by threads: the last one to let go ends both. */
import { lstatSync, unlinkSync } from "node:fs";
import { threadId } from "node:worker_threads";
import { monotonic } from "../../ffi/clock.ts";
import { fcntl } from "../../ffi/fd.ts";
import { constants } from "../../ffi/platform/index.ts";
import { roundTripTime } from "../../ffi/tcp-info.ts";
import { defineKind, type Kind, Shared, type SharedHandle } from "../shared/holds.ts";
import { closeOwned, ledger, own } from "../shared/ledger.ts";
import { keepTcpOut, keepUnixOut } from "./keep-out.ts";
import { STOP_WORDS, StopState } from "./stop-state.ts";

declare const handleOf: unique symbol;

/** A listener on its way to another thread: post it, and call `from` there. It holds nothing by itself. */
export interface ListenerHandle {
  readonly [handleOf]: "Listener";
}

/** The file of a listening Unix socket: ours to remove as long as it is still this one. */
export interface SocketFile {
  readonly path: string;
  readonly device: number;
  readonly inode: number;
  /** Nanoseconds: an inode's number is free for the next file as soon as the file is gone. */
  readonly born: number;
}

/** The file at a path. Throws Node.js's error if there is none. */
export function fileAt(path: string): SocketFile {
  const { dev, ino, birthtimeNs } = lstatSync(path, { bigint: true });
  return { path, device: Number(dev), inode: Number(ino), born: Number(birthtimeNs) };
}

// In words; the file's numbers are doubles.
const FD = 0;
const PATH_BYTES = 1;
const DEVICE = 1;
const INODE = 2;
const BORN = 3;
const STOP = 8;
const PATH = STOP + STOP_WORDS;

/** Milliseconds that the queue of a TCP listener has to stay empty at least; a handshake under way takes a round trip. */
const SHORTEST_SETTLE = 50;

/** Removes the file, unless another has taken its place. */
export function removeFile({ path, device, inode, born }: SocketFile): void {
  try {
    const now = fileAt(path);
    if (now.device === device && now.inode === inode && now.born === born) unlinkSync(path);
  } catch {
    // Somebody else has removed it, or its folder: it is gone, and that is what was wanted.
  }
}

function readFile(payload: Int32Array): SocketFile | undefined {
  const bytes = payload[PATH_BYTES]!;
  if (bytes === 0) return undefined;
  const numbers = new Float64Array(payload.buffer, payload.byteOffset, PATH / 2);
  const path = new TextDecoder().decode(new Uint8Array(payload.buffer, payload.byteOffset + PATH * 4, bytes));
  return { path, device: numbers[DEVICE]!, inode: numbers[INODE]!, born: numbers[BORN]! };
}

/** What listeners of a kind do when they stop. */
interface ListenerKind extends Kind {
  /** From now on the kernel takes no new client for `fd`; false: it cannot do that. */
  keepOut(fd: number): boolean;
  /** Milliseconds that the queue has to stay empty after that; `asked`: what the user wants. */
  settleTime(stop: StopState, asked: number | undefined): number;
  /** What a connection tells of the network between. */
  note(stop: StopState, accepted: number): void;
}

export const TCP_LISTENER: ListenerKind = defineKind({
  number: 2,
  name: "TcpListener",
  claim: (payload) => own(payload[FD]!),
  end: (payload) => closeOwned(payload[FD]!),
  mend: (shared, thread) => stopFor(shared, TCP_LISTENER, thread),
  keepOut: keepTcpOut,
  settleTime: (stop, asked) => asked ?? Math.max(SHORTEST_SETTLE, (2 * stop.roundTrip) / 1000),
  note: (stop, accepted) => stop.noteRoundTrip(roundTripTime(accepted)),
});

export const UNIX_LISTENER: ListenerKind = defineKind({
  number: 3,
  name: "UnixListener",
  claim: (payload) => own(payload[FD]!),
  end: (payload) => endListener(payload[FD]!, readFile(payload)),
  mend: (shared, thread) => stopFor(shared, UNIX_LISTENER, thread),
  keepOut: keepUnixOut,
  // Without a handshake a client is in the queue, or it is refused: there is nothing to wait for.
  settleTime: (stop, asked = 0) => (stop.keptOut ? 0 : asked),
  note: () => {},
});

function stopStateOf({ payload }: Shared): StopState {
  return new StopState(payload.subarray(STOP, STOP + STOP_WORDS));
}

/** Marks the hold in `slot` as stopping; whoever leaves no unmarked hold keeps new clients out. */
function stopHold(shared: Shared, kind: ListenerKind, slot: number): void {
  const stop = stopStateOf(shared);
  stop.mark(slot);
  if (!stop.stopped) keepOutIfAllStop(shared, kind, stop);
}

/**
 * Of a hold that is about to be given back. The thread may have been terminated between STOPPED and the system call: so
 * what it may have begun is done again.
 */
function stopFor(shared: Shared, kind: ListenerKind, thread: number): void {
  const stop = stopStateOf(shared);
  const slot = shared.slotOf(thread);
  stop.mark(slot);
  // The last one: what it is about to close needs no filter.
  if (shared.slots.some((other) => other !== slot)) keepOutIfAllStop(shared, kind, stop);
}

function keepOutIfAllStop(shared: Shared, kind: ListenerKind, stop: StopState): void {
  const allStop = () => shared.slots.every((slot) => stop.isMarked(slot));
  while (allStop()) {
    stop.noteNoise(monotonic()); // first: whoever sees STOPPED measures the silence from here
    stop.stopped = true;
    if (!allStop()) {
      stop.stopped = false; // a thread has taken a hold between the two looks, and may not have seen STOPPED
      continue;
    }
    keepOut(shared.payload[FD]!, kind, stop);
    return;
  }
}

function keepOut(fd: number, kind: ListenerKind, stop: StopState): void {
  stop.stopped = true;
  stop.keptOut = kind.keepOut(fd);
  stop.noteNoise(monotonic()); // a handshake that began before this may still end
}

/** The file first: whoever finds no file makes a new one, whoever finds one finds a listener behind it. */
function endListener(fd: number, file: SocketFile | undefined): void {
  if (file !== undefined) removeFile(file);
  closeOwned(fd);
}

/** The listener as this thread knows it: every object here that stands for it leans on one. */
export class ListeningFd {
  static readonly #known = new Map<number, ListeningFd>();
  readonly fd: number;
  readonly #kind: ListenerKind;
  readonly #file: SocketFile | undefined;
  #references = 1;
  /** One of the objects has `fd` itself. */
  #isTaken = false;
  /** How many of the references are of objects that are stopping. */
  #stopping = 0;
  #stop: StopState = StopState.create();
  #shared: Shared | null = null;
  #handle: SharedHandle | undefined;

  constructor(fd: number, kind: ListenerKind, file?: SocketFile) {
    this.fd = fd;
    this.#kind = kind;
    this.#file = file;
  }

  /** Throws `TypeError` for what is no handle, `ClosedError` if every thread has closed it. */
  static from(handle: ListenerHandle, kind: ListenerKind): ListeningFd {
    const data = handle as unknown as SharedHandle; // a brand for the user, data for us
    const here = ListeningFd.#known.get(Shared.find(data, kind));
    if (here !== undefined && here.#kind === kind) {
      here.#references++;
      here.#stop.unmark(here.#shared!.slot); // not all of this thread's objects are stopping any more
      return here;
    }
    const shared = Shared.take(data, kind);
    const listening = new ListeningFd(shared.payload[FD]!, kind);
    stopStateOf(shared).unmark(shared.slot); // before anybody here looks whether it was stopped
    listening.#become(shared, data);
    return listening;
  }

  share(): ListenerHandle {
    if (this.#handle === undefined) {
      const path = new TextEncoder().encode(this.#file?.path ?? "");
      const shared = Shared.create(this.#kind, PATH + Math.ceil(path.length / 4));
      const { payload } = shared;
      payload[FD] = this.fd;
      if (this.#file !== undefined) {
        payload[PATH_BYTES] = path.length;
        const numbers = new Float64Array(payload.buffer, payload.byteOffset, PATH / 2);
        numbers[DEVICE] = this.#file.device;
        numbers[INODE] = this.#file.inode;
        numbers[BORN] = this.#file.born;
        new Uint8Array(payload.buffer, payload.byteOffset + PATH * 4, path.length).set(path);
      }
      this.#become(shared, shared.publish());
      ledger().disown(this.fd); // it is the holders' now, not this thread's
    }
    return this.#handle as unknown as ListenerHandle;
  }

  #become(shared: Shared, handle: SharedHandle): void {
    const stop = stopStateOf(shared);
    stop.noteRoundTrip(this.#stop.roundTrip);
    this.#stop = stop;
    this.#shared = shared;
    this.#handle = handle;
    ListeningFd.#known.set(shared.address, this);
  }

  /** Whether the kernel takes no new client any more, or was asked to and cannot. */
  get stopped(): boolean {
    return this.#stop.stopped;
  }

  /** When an object that has been stopping since `since` has waited long enough: `monotonic()` times. */
  settledAt(since: number, settle: number | undefined): number {
    // While clients still come in, one thread of several does not wait for a silence that may never be.
    const quietSince = this.#stop.keptOut ? Math.max(since, this.#stop.quietSince) : since;
    return quietSince + this.#kind.settleTime(this.#stop, settle);
  }

  /** An object of this thread has accepted. */
  noteAccepted(fd: number): void {
    this.#kind.note(this.#stop, fd);
    if (this.#stopping > 0) this.#stop.noteNoise(monotonic());
  }

  /** One object of this thread is stopping; `isStopping` false: it was, and is about to be closed. */
  stop(isStopping: boolean): void {
    this.#stopping += isStopping ? 1 : -1;
    if (isStopping) this.#stopIfAllStop();
  }

  #stopIfAllStop(): void {
    if (this.#stopping < this.#references) return;
    if (this.#shared !== null) stopHold(this.#shared, this.#kind, this.#shared.slot);
    else if (!this.stopped) keepOut(this.fd, this.#kind, this.#stop);
  }

  /** The kernel lets nobody in any more, though not all threads have said that they stop. */
  keepOut(): void {
    if (!this.stopped) keepOut(this.fd, this.#kind, this.#stop);
  }

  /**
   * A descriptor for one object: a selector takes each number once, so a second object of this thread has a duplicate.
   * Throws `SystemError` (`EMFILE`), and lets go then.
   */
  take(): number {
    if (!this.#isTaken) {
      this.#isTaken = true;
      return this.fd;
    }
    try {
      return own(fcntl(this.fd, constants.F_DUPFD_CLOEXEC, 0));
    } catch (error) {
      this.#letGo();
      throw error;
    }
  }

  /** What `take` gave. */
  release(fd: number): void {
    if (fd === this.fd) this.#isTaken = false;
    else closeOwned(fd);
    this.#letGo();
  }

  /** The last object of the last thread closes the descriptor. */
  #letGo(): void {
    if (--this.#references > 0) {
      this.#stopIfAllStop();
      return;
    }
    if (this.#shared === null) {
      endListener(this.fd, this.#file);
      return;
    }
    ListeningFd.#known.delete(this.#shared.address);
    if (!this.stopped) stopFor(this.#shared, this.#kind, threadId);
    this.#shared.release();
  }
}
