/** The two forms of every operation, so that a row of a table is written once and run in both. */
import {
  type ConnectOptions,
  connect,
  connectSync,
  type OperationOptions,
  type TcpConnectOptions,
  type TcpListener,
  type TcpSocket,
  TimeoutError,
  type UnixConnectOptions,
  type UnixListener,
  type UnixSocket,
  type When,
} from "../../src/index.ts";

type Stream = TcpSocket | UnixSocket;
/** What both forms of an operation take. */
export type Both = Pick<OperationOptions, "cancel" | "timeout">;

/** Every operation of a form, as one that returns a promise; the blocking ones are done when it returns. */
export interface Form {
  readonly name: "promises" | "blocking";
  connect(options: TcpConnectOptions & Both & Pick<ConnectOptions, never>): Promise<TcpSocket>;
  connectAt(options: UnixConnectOptions & Both): Promise<UnixSocket>;
  accept(listener: TcpListener, options?: Both): Promise<TcpSocket>;
  acceptAt(listener: UnixListener, options?: Both): Promise<UnixSocket>;
  read(socket: Stream, into: Uint8Array, options?: Both): Promise<number>;
  write(socket: Stream, data: Uint8Array | string, options?: Both): Promise<number>;
  writev(socket: Stream, chunks: Uint8Array[], options?: Both): Promise<number>;
}

const promises: Form = {
  name: "promises",
  connect: (options) => connect(options),
  connectAt: (options) => connect(options),
  accept: (listener, options) => listener.accept(options),
  acceptAt: (listener, options) => listener.accept(options),
  read: (socket, into, options) => socket.read(into, options),
  write: (socket, data, options) => socket.write(data, options),
  writev: (socket, chunks, options) => socket.writev(chunks, options),
};

const blocking: Form = {
  name: "blocking",
  connect: async (options) => connectSync(options),
  connectAt: async (options) => connectSync(options),
  accept: async (listener, options) => listener.acceptSync(options),
  acceptAt: async (listener, options) => listener.acceptSync(options),
  read: async (socket, into, options) => socket.readSync(into, options),
  write: async (socket, data, options) => socket.writeSync(data, options),
  writev: async (socket, chunks, options) => socket.writevSync(chunks, options),
};

export const forms: readonly Form[] = [promises, blocking];

type Failure = Error & { code?: string; bytesWritten?: number; cause?: unknown; timeout?: boolean };

/** What it is rejected with; fails if it succeeds. */
export async function failure(operation: Promise<unknown>): Promise<Failure> {
  let result: unknown;
  try {
    result = await operation;
  } catch (error) {
    return error as Failure;
  }
  throw new Error(`expected it to fail, and it did not: ${String(result)}`);
}

/** Go's rule for all of these tests: a timeout is told from everything else by one property. Throws what it is not. */
export async function timedOut(operation: Promise<unknown>): Promise<TimeoutError> {
  const error = await failure(operation);
  if (!(error instanceof TimeoutError) || error.timeout !== true || error.code !== "ERR_TIMEOUT") throw error;
  return error;
}

/** A deadline that has passed long ago. */
export const LONG_AGO: When = new Date(233_431_200_000);
