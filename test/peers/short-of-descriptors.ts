/**
 * Blocking operations with no file descriptor left: `sh -c 'ulimit -n 64; exec bun run short-of-descriptors.ts SCENARIO'`.
 * Prints its port; waits for two clients; takes the first; fills the descriptor table; prints "full"; does what the
 * scenario says, and prints what came of it, as JSON.
 */
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { monotonic, POLLIN, PollSet } from "../../ffi/index.ts";
import { libc } from "../../ffi/libc.ts";
import {
  type CancelHandle,
  CancelSource,
  connectSync,
  listen,
  type SystemError,
  TimeoutError,
} from "../../src/index.ts";

interface Job {
  handle: CancelHandle;
  /** 0: wait; 1: the main thread is about to block; then cancel, or close these. */
  flags: Int32Array;
  fillers: Int32Array;
  syscalls: number;
  action: "cancel" | "free";
}

/** One that is open already, as there is none to open later. Says the number of the system call that a thread is in. */
function syscallOf(file: number): string {
  const bytes = Buffer.alloc(16);
  return bytes
    .subarray(0, readSync(file, bytes, 0, 16, 0))
    .toString()
    .split(" ")[0]!;
}
const waits = { x64: ["232", "7", "271", "281", "441"], arm64: ["22", "73", "441"] }[process.arch as "x64" | "arm64"];
const say = (value: unknown) => void writeSync(1, `${typeof value === "string" ? value : JSON.stringify(value)}\n`);

function timesOut(wait: () => unknown): void {
  try {
    wait();
  } catch (error) {
    if (!(error instanceof TimeoutError)) throw error;
  }
}

if (isMainThread) await main(process.argv[2]!);
else {
  const job = workerData as Job;
  using source = CancelSource.from(job.handle);
  parentPort!.postMessage("up");
  while (!(Atomics.load(job.flags, 0) === 1 && waits.includes(syscallOf(job.syscalls))))
    Atomics.wait(job.flags, 1, 0, 1);
  if (job.action === "cancel") source.cancel("enough");
  else for (const fd of job.fillers) if (fd !== 0) closeSync(fd);
}

async function main(scenario: string): Promise<void> {
  const source = new CancelSource();
  const listener = listen({ hostname: "127.0.0.1" });
  const fresh = listen({ hostname: "127.0.0.1" }); // one that has never waited
  timesOut(() => listener.acceptSync({ timeout: 1 })); // and one that has
  const job: Job = {
    handle: source.handle,
    flags: new Int32Array(new SharedArrayBuffer(8)),
    fillers: new Int32Array(new SharedArrayBuffer(4 * 256)),
    syscalls: openSync(`/proc/self/task/${process.pid}/syscall`, "r"),
    action: scenario === "accept, freed" ? "free" : "cancel",
  };
  if (scenario.includes(",")) {
    const worker = new Worker(new URL(import.meta.url), { workerData: job });
    await new Promise((resolve) => worker.once("message", resolve));
  }
  say(String(listener.address.port));
  const socket = listener.acceptSync({ timeout: 20_000 });
  const backlog = new PollSet();
  backlog.push(listener.fd, POLLIN);
  backlog.waitUntil(monotonic() + 20_000, false); // the second client
  const buffer = new Uint8Array(100);
  let accepts = 0;
  const { accept4 } = libc;
  const counted: typeof accept4 = (...parameters) => {
    accepts++;
    return accept4(...parameters);
  };
  Object.assign(libc, { accept4: counted });
  try {
    for (let i = 0; ; i++) job.fillers[i] = openSync("/dev/null", "r");
  } catch (error) {
    if ((error as SystemError).code !== "EMFILE") throw error;
  }
  say("full");

  const operations: Record<string, () => unknown> = {
    tryAccept: () => listener.tryAccept()?.fd,
    connect: () => connectSync({ hostname: "127.0.0.1", port: listener.address.port }).fd,
    handle: () => typeof new CancelSource().handle,
    accept: () => listener.acceptSync({ timeout: 2000 }).fd,
    "accept on a fresh listener": () => fresh.acceptSync({ timeout: 300 }).fd,
    "accept, cancelled": () => listener.acceptSync({ cancel: source, timeout: 20_000 }).fd,
    "accept, freed": () => {
      using accepted = listener.acceptSync({ timeout: 20_000 });
      accepted.writeSync("at last");
      return "accepted";
    },
    read: () => Buffer.from(buffer.subarray(0, socket.readSync(buffer, { timeout: 20_000 }))).toString(),
    "read in time": () => socket.readSync(buffer, { timeout: 200 }),
    "read, cancelled": () => socket.readSync(buffer, { cancel: source, timeout: 20_000 }),
    write: () => socket.writeSync(new Uint8Array(16 << 20), { timeout: 20_000 }),
  };
  const begin = performance.now();
  const cpu = process.cpuUsage();
  const spent = () => {
    const { user, system } = process.cpuUsage(cpu);
    return { wall: performance.now() - begin, cpu: (user + system) / 1000, accepts };
  };
  Atomics.store(job.flags, 0, 1);
  try {
    say({ result: operations[scenario]!(), ...spent() });
  } catch (error) {
    const { name, code, cause, syscall } = error as SystemError;
    say({ name, code, cause, syscall, ...spent() });
  }
  process.exit();
}
