/** The demonstration with promises: the server and the reader take turns in this one thread, and a key cancels both. */
import { monotonic } from "../ffi/index.ts";
import { CancelledError, CancelSource, connect, listen, type TcpListener, TimeoutError } from "../src/index.ts";

/** `interval` in milliseconds. Resolves to the exit code. */
export async function demonstrateAsync(interval: number): Promise<number> {
  using cancel = new CancelSource();
  using listener = listen({ hostname: "127.0.0.1" });
  let cancelCalledAt = 0;
  const stop = (why: string) => {
    cancelCalledAt ||= monotonic();
    cancel.cancel(why);
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop(signal));
  if (process.stdin.isTTY) {
    console.log("press any key to quit");
    process.stdin.setRawMode(true).once("data", () => stop("a key was pressed"));
  }

  let failed = false;
  let messages = 0;
  const show = (text: string) => {
    process.stdout.write(text);
    // Without a terminal there is no key to press: stop in the middle of the third wait.
    if (++messages !== 2 || process.stdin.isTTY) return;
    setTimeout(stop, interval / 2, "no terminal to press a key on").unref();
  };
  const ended = (error: unknown) => {
    if (error instanceof CancelledError) return;
    failed = true;
    console.error(String(error));
    cancel.cancel("the other side failed");
  };
  const reading = read(listener.address.port, cancel, show).catch((error) => {
    if (error instanceof CancelledError && cancelCalledAt !== 0) {
      console.log(`the read was pending; cancelled in ${Math.round((monotonic() - cancelCalledAt) * 1000)} µs`);
    }
    ended(error);
  });
  await Promise.all([serve(listener, interval, cancel).catch(ended), reading]);
  if (process.stdin.isTTY) process.stdin.setRawMode(false).pause();
  console.log("every operation has ended");
  return failed ? 1 : 0;
}

/** Waits in a read that doubles as the pause between two messages: the client's end wakes it. */
async function serve(listener: TcpListener, interval: number, cancel: CancelSource): Promise<void> {
  using client = await listener.accept({ cancel });
  const ignored = new Uint8Array(1024);
  for (;;) {
    try {
      if ((await client.read(ignored, { cancel, timeout: interval })) === 0) return;
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
      await client.write("hello world\n", { cancel });
    }
  }
}

async function read(port: number, cancel: CancelSource, show: (text: string) => void): Promise<void> {
  using socket = await connect({ hostname: "127.0.0.1", port, cancel });
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(16_384);
  for (let count: number; (count = await socket.read(buffer, { cancel })) > 0; ) {
    show(decoder.decode(buffer.subarray(0, count), { stream: true }));
  }
  console.log("the server has ended the connection");
}
