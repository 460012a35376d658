/**
 * A main thread that imports the library only after two of its Workers have, and relays their handles before that. Says
 * how each step went, and what is left when everything has ended.
 */
import { close, F_DUPFD_CLOEXEC, fcntl } from "../../ffi/index.ts";
import type { Goods } from "../bodies/ledgers.ts"; // a type: the module would import the library
import { changesSince, quietTable } from "../leaks.ts";
import { fdTable, Thread } from "../thread.ts";

const say = (what: unknown) => console.log(JSON.stringify(what));
const [scenario] = process.argv.slice(2);
const before = await quietTable();
if (scenario === "exchange") await exchange();
else await pipeOfTheLower();

async function exchange(): Promise<void> {
  const first = await Thread.start("ledgers", "exchange");
  const second = await Thread.start("ledgers", "exchange");
  const threads = [first, second];
  const goods = await Promise.all(threads.map((thread) => thread.next<Goods>()));
  first.worker.postMessage(goods[1]);
  second.worker.postMessage(goods[0]);
  for (const thread of threads) say(await thread.next());
  for (const thread of threads) say(await thread.next());

  const { CancelSource, ClosedError, connectSync, releaseOnExit, TcpListener, TcpSocket } = await import(
    "../../src/index.ts"
  );
  const sources = goods.map(({ source }) => CancelSource.from(source));
  const listeners = goods.map(({ listener }) => TcpListener.from(listener));
  for (const thread of threads) releaseOnExit(thread.worker);
  for (const thread of threads) await thread.blocked();
  // Each waits on the other's first, and then on its own: the first thread's has woken the second once, and then itself.
  say(sources[0]!.cancel("by the main thread"));
  say(await second.next());
  await second.blocked();
  say(sources[1]!.cancel("by the main thread"));
  for (const thread of [first, first, second]) say(await thread.next());
  for (const thread of threads) await thread.next();
  for (const thread of threads) await thread.blocked();
  for (const thread of threads) await thread.terminate();

  say(
    goods.map(({ socket }) => {
      try {
        TcpSocket.from(socket);
        return "taken";
      } catch (error) {
        return error instanceof ClosedError ? "ClosedError" : String(error);
      }
    }),
  );
  for (const [index, listener] of listeners.entries()) {
    using client = connectSync({ hostname: "127.0.0.1", port: goods[index]!.port });
    using accepted = listener.acceptSync({ timeout: 20_000 });
    say(accepted.remoteAddress.port === client.localAddress.port);
    listener.close();
  }
  for (const source of sources) source.dispose();
  say(await changesSince(before));
}

/**
 * A thread of the lower ledger waits on a source of the higher one, whose thread has never met the lower one, and rings:
 * the number of the waiter's pipe is a stranger's before the waiter ends.
 */
async function pipeOfTheLower(): Promise<void> {
  const waiter = await Thread.start("ledgers", "waitOn");
  const own = await waiter.next();
  const ringer = await Thread.start("ledgers", "cancelWhenTold");
  const other = await ringer.next();
  waiter.worker.postMessage(other);
  await waiter.blocked();
  const open = fdTable();
  ringer.worker.postMessage("cancel");
  say(await ringer.next());
  say(await waiter.next());
  await waiter.blocked();
  const free = Object.keys(open).filter((fd) => !(fd in fdTable()));
  const strangers = free.map((fd) => fcntl(2, F_DUPFD_CLOEXEC, Number(fd)));
  const { CancelSource, releaseOnExit } = await import("../../src/index.ts");
  for (const handle of [own, other]) CancelSource.from(handle as never).dispose(); // now it knows both ledgers
  releaseOnExit(waiter.worker);
  const numbers = fdTable();
  await waiter.terminate();
  say(strangers.every((fd) => fdTable()[fd] === numbers[fd]));
  for (const fd of strangers) if (`${fd}` in fdTable()) close(fd);
  ringer.worker.postMessage("end");
  await ringer.join();
  say(await changesSince(before));
}
