/** A stream on its way from one thread to another. */
import type { CancelHandle } from "../cancel/handle.ts";
import { CancelSource } from "../cancel/source.ts";
import { ClosedError } from "../errors.ts";
import { ledger, meet, own } from "../shared/ledger.ts";
import type { StreamCore } from "./core.ts";

declare const handleOf: unique symbol;

/** A socket on its way to another thread: post it, and call `from` there, once. */
export interface SocketHandle {
  readonly [handleOf]: "Socket";
}

/** What is inside. Plain data, so that it can be cloned. */
interface Detached {
  readonly kind: string;
  readonly ledger: SharedArrayBuffer;
  readonly fd: number;
  readonly ticket: number;
  readonly cancel: CancelHandle | undefined;
  readonly state: ReturnType<StreamCore["save"]>;
}

/** Lets go of a socket, for whoever gets the handle. Throws `ClosedError`, `BusyError`. */
export function detach(core: StreamCore): SocketHandle {
  core.assertOpen();
  const state = core.save();
  const { ticket, cancel } = core.detach();
  const detached: Detached = { kind: core.kind, ledger: ledger().memory, fd: core.fd, ticket, cancel, state };
  return detached as unknown as SocketHandle;
}

/** The core of a socket that another thread has detached. */
export function adoptDetached<C extends StreamCore>(handle: SocketHandle, kind: string, create: (fd: number) => C): C {
  const data = handle as unknown as Detached; // a brand for the user, data for us
  const book = meet(data?.ledger, kind);
  if (data.kind !== kind) throw new TypeError(`this is the handle of a ${data.kind}, not of a ${kind}`);
  // The source first: should it be no good, the socket stays there for whoever has a better handle.
  const source = data.cancel === undefined ? null : CancelSource.from(data.cancel);
  if (!book.adopt(data.fd, data.ticket)) {
    source?.dispose();
    throw new ClosedError(
      `the ${kind} of this handle was taken by another thread, or closed; a handle is good for one from()`,
    );
  }
  if (book !== ledger()) {
    book.disown(data.fd);
    own(data.fd);
  }
  const core = create(data.fd);
  core.restore(data.state);
  if (source !== null) core.attach(source, data.ticket);
  book.settle(data.fd);
  return core;
}
