import { expect, test } from "bun:test";
import { CancelSource, connectSync, listen, TcpListener } from "../src/index.ts";
import { NONE } from "./leaks.ts";
import { rejection } from "./promise/outcome.ts";
import { changesAtRest, restingTable } from "./promise/settled.ts";
import { keeper, readText } from "./setup.ts";
import { Thread } from "./thread.ts";

const keep = keeper();
const THREADS = Array.from({ length: 8 }, (_, i) => i);

function greet(port: number): void {
  using client = connectSync({ hostname: "127.0.0.1", port, timeout: 20_000 });
  expect(readText(client, 20_000)).toBe("hello");
}

test("one source frees eight threads that are blocked in accept; the listener goes on with another, in them and here", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const [first, second] = [keep(new CancelSource()), keep(new CancelSource())];
  const job = { listener: listener.handle, first: first.handle, second: second.handle };
  const threads = await Promise.all(THREADS.map(() => Thread.start("acceptors", "acceptTwice", job)));
  for (const thread of threads) await thread.blocked();

  expect(first.cancel("all of you")).toBe(true);
  for (const thread of threads) expect(await thread.next<object>()).toEqual({ name: "AbortError", answered: 0 });

  for (const thread of threads) await thread.blocked();
  for (let i = 0; i < 40; i++) greet(listener.address.port);
  expect(second.cancel()).toBe(true);
  let answered = 0;
  for (const thread of threads) {
    const end = await thread.next<{ name: string; answered: number }>();
    expect(end.name).toBe("AbortError");
    answered += end.answered;
  }
  expect(answered).toBe(40);
  for (const thread of threads) await thread.join();

  using client = connectSync({ hostname: "127.0.0.1", port: listener.address.port });
  using server = listener.acceptSync({ timeout: 20_000 });
  server.writeSync("hello");
  expect(readText(client)).toBe("hello");
});

test("the client that comes with the cancel is taken by one of them or stays for the next accept, in 20 rounds", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  for (let round = 0; round < 20; round++) {
    const source = keep(new CancelSource());
    const job = { listener: listener.handle, first: source.handle, second: source.handle };
    const threads = await Promise.all([0, 1].map(() => Thread.start("acceptors", "acceptTwice", job)));
    for (const thread of threads) await thread.blocked();
    const client = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
    source.cancel();
    let answered = 0;
    for (const thread of threads) {
      for (let i = 0; i < 2; i++) answered += (await thread.next<{ answered: number }>()).answered;
      await thread.join();
    }
    const left = listener.tryAccept();
    expect(answered + (left === null ? 0 : 1)).toBe(1);
    left?.writeSync("hello");
    expect(readText(client)).toBe("hello");
    left?.close();
  }
});

test("copies in one thread accept side by side; cancel and close of one leave the others waiting", async () => {
  const before = await restingTable();
  const first = keep(listen({ hostname: "127.0.0.1" }));
  const copies = [first, keep(TcpListener.from(first.handle)), keep(TcpListener.from(first.handle))] as const;
  const { port } = first.address;
  const [a, b, c] = copies.map((copy) => copy.accept({ timeout: 20_000 }));
  const [closed, cancelled] = [rejection(a!), rejection(b!)];
  copies[1].cancel("only you");
  expect(await cancelled).toMatchObject({ name: "AbortError", cause: "only you" });
  first.close();
  expect(await closed).toMatchObject({ name: "ClosedError" });
  const client = connectSync({ hostname: "127.0.0.1", port, timeout: 20_000 });
  (await c!).close();
  client.close();
  copies[2].close();
  const again = copies[1].accept({ timeout: 20_000 });
  connectSync({ hostname: "127.0.0.1", port, timeout: 20_000 }).close();
  (await again).close();
  copies[1].close();
  expect(await changesAtRest(before)).toEqual(NONE);
});
