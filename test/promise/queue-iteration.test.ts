/** A queue in a `for await` loop: every value once, until it is closed and drained; and leaving the loop loses none. */
import { expect, test } from "bun:test";
import { CancelSource, WakeQueue } from "../../src/index.ts";
import { keeper } from "../setup.ts";
import { rejection } from "./outcome.ts";
import { isPending } from "./settled.ts";

const keep = keeper();
const queueOf = <T = unknown>() => keep(new WakeQueue<T>());

test("gives every value, undefined and null too, and ends once the queue is closed and nothing is left", async () => {
  const queue = queueOf();
  const values = [undefined, 1, null, "x", undefined];
  for (const value of values) queue.send(value);
  const seen: unknown[] = [];
  for await (const value of queue) {
    seen.push(value);
    if (seen.length === 3) queue.close();
  }
  expect(seen).toEqual(values);
  for await (const value of queue) throw new Error(`after the end: ${value}`);
});

test("a close ends a loop that waits", async () => {
  const queue = queueOf();
  const loop = (async () => {
    let count = 0;
    for await (const _ of queue) count++;
    return count;
  })();
  queue.send(1);
  expect(await isPending(loop)).toBe(true);
  queue.close();
  expect(await loop).toBe(1);
});

test("leaving the loop, by break or by an error, closes nothing and loses no value", async () => {
  const queue = queueOf<number>();
  const seen: number[] = [];
  for (let i = 0; i < 100; i++) queue.send(i);
  while (seen.length < 90) {
    try {
      for await (const value of queue) {
        seen.push(value);
        if (value % 7 === 0) break;
        if (value % 11 === 0) throw new Error("out");
      }
    } catch (error) {
      expect((error as Error).message).toBe("out");
    }
  }
  queue.close();
  for await (const value of queue) seen.push(value);
  expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i));
});

test("return ends a pending next, and the value that comes then is there for the next receive", async () => {
  const queue = queueOf<number>();
  for (let round = 0; round < 20; round++) {
    const values = queue[Symbol.asyncIterator]();
    const pending = values.next();
    if (round % 2) await isPending(pending);
    if (round % 4 < 2) queue.send(round); // it is there, but the loop had no turn yet
    expect(await values.return!()).toEqual({ done: true, value: undefined });
    const { done, value } = await pending;
    if (round % 4 >= 2) queue.send(round);
    expect(done ? await queue.receive() : value).toBe(round);
    expect(await values.next()).toEqual({ done: true, value: undefined });
  }
});

test("several nexts at once, and two loops, get each value once", async () => {
  const queue = queueOf<number>();
  const values = queue[Symbol.asyncIterator]();
  const nexts = Promise.all([values.next(), values.next(), values.next()]);
  for (let i = 0; i < 3; i++) queue.send(i);
  expect((await nexts).map(({ value }) => value)).toEqual([0, 1, 2]);
  const seen: number[] = [];
  const loop = async () => {
    for await (const value of queue) seen.push(value);
  };
  const loops = [loop(), loop()];
  for (let i = 0; i < 100; i++) queue.send(i);
  queue.close();
  await Promise.all(loops);
  expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
});

test("a receive beside the loop that is cancelled does not end it", async () => {
  const queue = queueOf<number>();
  const source = keep(new CancelSource());
  const beside = rejection(queue.receive({ cancel: source }));
  const first = queue[Symbol.asyncIterator]().next();
  source.cancel();
  expect((await beside).name).toBe("AbortError");
  queue.send(1);
  expect(await first).toEqual({ done: false, value: 1 });
});
