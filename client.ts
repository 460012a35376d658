/**
 * A read that is blocked in the kernel, and a key that stops it.
 *
 *   bun run client.ts [--interval SECONDS]   the demonstration: a server in this process says "hello world"
 *   bun run client.ts HOST PORT              a small netcat (cli/); --help tells the rest
 *   bun run client.ts --async …              either of them with promises, in one thread (cli/)
 *
 * Three threads: this one waits for the key; a Worker is blocked in `readSync`; another is the server, blocked in
 * `acceptSync` and `readSync`. One CancelSource frees them all.
 */

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { parseCommand, usage } from "./cli/arguments.ts";
import { demonstrateAsync } from "./cli/demonstration-async.ts";
import { netcat } from "./cli/netcat.ts";
import { netcatAsync } from "./cli/netcat-async.ts";
import { monotonic } from "./ffi/index.ts";
import { type CancelHandle, CancelledError, CancelSource, connectSync, listen, TimeoutError } from "./src/index.ts";

interface Job {
  role: "reader" | "server";
  cancel: CancelHandle;
  port: number;
  /** Milliseconds. */
  interval: number;
}
type Report = { port: number } | { text: string } | { cancelledAt: number } | { ended: true } | { error: string };

if (isMainThread) {
  process.exitCode = await main();
} else {
  const job = workerData as Job;
  using source = CancelSource.from(job.cancel);
  try {
    if (job.role === "server") serve(job, source);
    else read(job, source);
  } catch (error) {
    if (error instanceof CancelledError) report({ cancelledAt: monotonic() });
    else report({ error: String(error) });
  }
}

function report(what: Report): void {
  parentPort!.postMessage(what);
}

/** Blocks in accept, then in a read that doubles as the pause between two messages: the client's end wakes it. */
function serve({ interval }: Job, cancel: CancelSource): void {
  using listener = listen({ hostname: "127.0.0.1" });
  report({ port: listener.address.port });
  using client = listener.acceptSync({ cancel });
  const ignored = new Uint8Array(1024);
  for (;;) {
    try {
      if (client.readSync(ignored, { cancel, timeout: interval }) === 0) return;
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
      client.writeSync("hello world\n", { cancel });
    }
  }
}

function read({ port }: Job, cancel: CancelSource): void {
  using socket = connectSync({ hostname: "127.0.0.1", port, cancel });
  const buffer = new Uint8Array(16_384);
  const decoder = new TextDecoder();
  for (let count = socket.readSync(buffer, { cancel }); count > 0; count = socket.readSync(buffer, { cancel })) {
    report({ text: decoder.decode(buffer.subarray(0, count), { stream: true }) });
  }
  report({ ended: true });
}

async function main(): Promise<number> {
  let command: ReturnType<typeof parseCommand>;
  try {
    command = parseCommand(process.argv.slice(2));
  } catch (error) {
    console.error(`${(error as Error).message}\n${usage}`);
    return 2;
  }
  if (command.command === "netcat") {
    // Now, as what waits on a standard stream cannot be cancelled, and the process would stay for it.
    return command.async ? process.exit(await netcatAsync(command)) : netcat(command);
  }
  if (command.command === "demonstration") {
    return command.async ? demonstrateAsync(command.interval) : demonstrate(command.interval);
  }
  console.log(usage);
  return 0;
}

async function demonstrate(interval: number): Promise<number> {
  const source = new CancelSource();
  const cancel = source.handle;
  let failed = false;
  let messages = 0;
  let cancelCalledAt = 0;
  const threads: Promise<unknown>[] = [];
  const start = (role: Job["role"], port: number) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { role, cancel, port, interval } satisfies Job });
    threads.push(new Promise((resolve) => worker.once("exit", resolve)));
    worker.once("error", fail).on("message", (message: Report) => receive(role, message));
  };
  const fail = (error: unknown) => {
    failed = true;
    console.error(String(error));
    source.cancel("another thread failed");
  };
  const stop = (why: string) => {
    cancelCalledAt ||= monotonic();
    source.cancel(why);
  };
  const receive = (role: Job["role"], message: Report) => {
    if ("port" in message) start("reader", message.port);
    else if ("error" in message) fail(message.error);
    else if ("ended" in message) {
      console.log("the server has ended the connection");
      source.cancel("the server has ended the connection");
    } else if ("text" in message) {
      process.stdout.write(message.text);
      // Without a terminal there is no key to press: stop in the middle of the third wait.
      if (++messages === 2 && !process.stdin.isTTY) setTimeout(stop, interval / 2, "no terminal to press a key on");
    } else if (role === "reader" && cancelCalledAt !== 0) {
      console.log(
        `the read was blocked in the kernel; cancelled in ${Math.round((message.cancelledAt - cancelCalledAt) * 1000)} µs`,
      );
    }
  };

  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop(signal));
  if (process.stdin.isTTY) {
    console.log("press any key to quit");
    process.stdin.setRawMode(true).once("data", () => stop("a key was pressed"));
  }
  start("server", 0);
  for (let joined = 0; joined < threads.length; joined++) await threads[joined];
  if (process.stdin.isTTY) process.stdin.setRawMode(false).pause();
  source.dispose();
  console.log("every thread has ended");
  return failed ? 1 : 0;
}
