/** client.ts as a netcat, in both of its forms: started, fed and watched from outside. */
import { test as testOnce } from "bun:test";
import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectSync, listen, type SystemError, type TcpSocket, type UnixSocket } from "../src/index.ts";
import { type Keep, temporaryDirectory } from "./setup.ts";
import { until } from "./thread.ts";
import { needs as needsOnce, Program } from "./tool.ts";

const script = fileURLToPath(new URL("../client.ts", import.meta.url));
/** What makes it the form that the test at hand is about. */
let form: string[] = [];
type Register = (name: string, body: () => unknown) => void;

/** One test a form: both have to behave alike. */
function inBothForms(register: Register): Register {
  return (name, body) => {
    for (const options of [[], ["--async"]]) {
      register([name, ...options].join(", "), () => {
        form = options;
        return body();
      });
    }
  };
}

/** `test` of bun:test and `needs` of tool.ts, for the netcat that blocks a thread and for that with promises. */
export const test = inBothForms((name, body) => testOnce(name, body as () => void));
export const needs = (...programs: string[]): Register => inBothForms(needsOnce(...programs));

/** How a user runs client.ts in that form. */
export const client = (): string[] => [process.execPath, "run", script, ...form];

type Argument = string | number;
interface Streams {
  /** Standard input: bytes, a path, or (the default) a pipe that stays open and empty. */
  input?: Uint8Array | string | undefined;
  /** Standard output goes to this path; default: to the test. */
  output?: string | undefined;
}

/** `bun run client.ts ...args`. */
export function netcat(args: Argument[], { input, output }: Streams = {}): Program {
  const command = [...client(), ...args.map(String)];
  const stdin = input instanceof Uint8Array ? input : input === undefined ? "pipe" : "ignore";
  const from = typeof input === "string" ? ' < "$FROM"' : "";
  const to = output === undefined ? "" : ' > "$TO"';
  if (from === "" && to === "") return Program.start(command, { stdin });
  // exec: the process that we started is the netcat itself, for its signals and its status.
  const env = { FROM: input as string, TO: output };
  return Program.start(["sh", "-c", `exec "$@"${from}${to}`, "sh", ...command], { stdin, env });
}

/** A pipe with a name, whose other end a program has by its path. */
export class Fifo implements Disposable {
  readonly path: string;
  readonly #directory = temporaryDirectory();
  #fd: number;

  constructor() {
    this.path = `${this.#directory.path}/fifo`;
    Bun.spawnSync(["mkfifo", this.path]);
    // Both directions: an open for one alone would wait for the program's, and here it is that one which must not wait.
    this.#fd = openSync(this.path, constants.O_RDWR | constants.O_NONBLOCK);
  }

  write(text: string): void {
    writeSync(this.#fd, text);
  }

  /** What is there now; 0 if there is nothing. */
  read(into: Uint8Array): number {
    try {
      return readSync(this.#fd, into);
    } catch (error) {
      if ((error as { code?: string }).code === "EAGAIN") return 0;
      throw error;
    }
  }

  /** The end, for who reads the other one. */
  end(): void {
    if (this.#fd !== -1) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.end();
    this.#directory[Symbol.dispose]();
  }
}

export type Peer = TcpSocket | UnixSocket;
export const kinds = [
  "connects over TCP",
  "listens over TCP",
  "connects to a Unix socket",
  "listens at a path",
] as const;
export type Kind = (typeof kinds)[number];

export interface Connection {
  program: Program;
  peer: Peer;
  /** What a message about the connection names. */
  address: string;
}

/** A netcat of one of the kinds that is connected with a socket of the test. */
export async function connection(
  keep: Keep,
  kind: Kind,
  streams: Streams = {},
  options: Argument[] = [],
): Promise<Connection> {
  const path = kind.endsWith("TCP") ? "" : `${keep(temporaryDirectory()).path}/socket`;
  const address = path || "127.0.0.1";
  if (kind.startsWith("listens")) {
    const program = keep(
      netcat(["--verbose", ...options, "--listen", ...(path ? ["--unix", path] : [address, 0])], streams),
    );
    const to = await listening(program);
    const peer = keep(path ? connectSync({ path }) : connectSync({ hostname: address, port: to }));
    await until("the netcat to have a client", () => program.errors.includes("a client has connected"));
    return { program, peer, address };
  }
  const listener = keep(path ? listen({ path }) : listen({ hostname: address }));
  const port = "port" in listener.address ? listener.address.port : 0;
  const program = keep(netcat(["--verbose", ...options, ...(path ? ["--unix", path] : [address, port])], streams));
  const peer = keep(listener.acceptSync({ timeout: 10_000 }));
  await until("the netcat to have connected", () => program.errors.includes("connected to"));
  return { program, peer, address };
}

/** Resolves once a `--verbose --listen` listens: its port, 0 at a path. */
export async function listening(program: Program): Promise<number> {
  await until("the netcat to listen", () => /^listening on .*\n/.test(program.errors));
  return Number(/^listening on .* port (\d+)\n/.exec(program.errors)?.[1] ?? 0);
}

/** Resolves once this `socat -dd` listens: its port, empty at a path. */
export async function portOf(socat: Program): Promise<string> {
  await until("socat to listen", () => /listening on .*\n/.test(socat.errors));
  return /listening on .*:(\d+)\n/.exec(socat.errors)?.[1] ?? "";
}

/** Reads to the peer's end; a reset is an end too. How many bytes there were. */
export function drain(peer: Peer): { bytes: number; end: "end" | "reset" } {
  const buffer = new Uint8Array(1 << 16);
  let bytes = 0;
  try {
    for (let count: number; (count = peer.readSync(buffer, { timeout: 10_000 })) > 0; ) bytes += count;
    return { bytes, end: "end" };
  } catch (error) {
    if ((error as SystemError).code !== "ECONNRESET") throw error;
    return { bytes, end: "reset" };
  }
}

/** Its memory, in kB: VmRSS, or VmHWM, the most that ever was; 0 of one that has ended. */
export function memory({ pid }: Program, name: "VmRSS" | "VmHWM"): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Bytes that it has read (rchar) or written (wchar) with read(2) and write(2): its standard streams, not its socket. */
export function moved({ pid }: Program, name: "rchar" | "wchar"): number {
  return Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(readFileSync(`/proc/${pid}/io`, "latin1"))![1]);
}

/** Resolves once it neither reads nor writes: a hundred looks in a row have found nothing new. */
export async function stalled(program: Program): Promise<void> {
  let [last, same] = ["", 0];
  await until("the netcat to stall", () => {
    const now = `${moved(program, "rchar")} ${moved(program, "wchar")}`;
    same = now === last ? same + 1 : 0;
    last = now;
    return same === 100;
  });
}

/** Stops it, does `meanwhile`, and lets it go on. */
export async function whileStopped(program: Program, meanwhile: () => unknown): Promise<void> {
  const tasks = `/proc/${program.pid}/task`;
  const stopped = (tid: string) => {
    try {
      return / T /.test(readFileSync(`${tasks}/${tid}/stat`, "latin1"));
    } catch {
      return true; // a thread of Bun's own that has just ended
    }
  };
  program.kill("SIGSTOP");
  await until("every thread of the netcat to have stopped", () => readdirSync(tasks).every(stopped));
  await meanwhile();
  program.kill("SIGCONT");
}

const loopback = (port: number) => `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;

/** Whether a connect to this port of 127.0.0.1 waits for an answer, as the kernel tells it in /proc/net/tcp. */
export function connecting(port: number): boolean {
  return readFileSync("/proc/net/tcp", "latin1").includes(` ${loopback(port)} 02 `);
}

/** Whether somebody listens on this port of 127.0.0.1. */
export function taken(port: number): boolean {
  return readFileSync("/proc/net/tcp", "latin1").includes(` ${loopback(port)} 00000000:0000 0A `);
}
