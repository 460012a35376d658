/** Promise accepts while no descriptor is free and a client waits: the listener is readable all the while. */
import { expect, test } from "bun:test";
import { monotonic } from "../../ffi/index.ts";
import { constants } from "../../ffi/platform/index.ts";
import { CancelSource, ClosedError, connectSync, listen, type TcpListener } from "../../src/index.ts";
import { failWith, faults } from "../faults.ts";
import { aroundWaits } from "../hooks.ts";
import { keeper } from "../setup.ts";
import { until } from "../thread.ts";
import { rejection } from "./outcome.ts";

const keep = keeper();
const fault = faults();
const nothing = () => {};

/** A listener with a client in its queue, which cannot be accepted until `end`. */
function shortage() {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const client = keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
  let asked = 0;
  let over = false;
  fault("accept4", (accept4) => (...parameters) => {
    asked++;
    return over ? accept4(...parameters) : failWith(constants.EMFILE);
  });
  return {
    listener,
    client,
    end: () => {
      over = true;
    },
    get asked() {
      return asked;
    },
  };
}

test("a thread that sits a shortage out does not spin, and accepts the client once it is over", async () => {
  const short = shortage();
  let looks = 0;
  keep(aroundWaits(() => void looks++, nothing));
  const begin = monotonic();
  const accept = short.listener.accept();
  // The pauses double, from 5 ms: the sixth is 160 ms long, in which one that listens looks thousands of times.
  await until("the sixth pause to be over", () => short.asked >= 7);
  expect(monotonic() - begin).toBeGreaterThanOrEqual(5 + 10 + 20 + 40 + 80 + 160);
  expect(looks).toBeLessThan(300);
  short.end();
  expect(keep(await accept).remoteAddress).toEqual(short.client.localAddress);
});

test("while it sits a shortage out an accept can be cancelled, times out, and fails when the listener is closed", async () => {
  const { listener } = shortage();
  const source = keep(new CancelSource());
  const cancelled = rejection(listener.accept({ cancel: source }));
  setTimeout(() => source.cancel(), 1);
  expect(await cancelled).toMatchObject({ name: "AbortError" });
  expect(await rejection(listener.accept({ timeout: 20 }))).toMatchObject({ name: "TimeoutError" });
  const closed = rejection(listener.accept());
  listener.close();
  expect(await closed).toMatchObject({ name: "ClosedError" });
});

test("a listener that stops in a shortage, and has nobody in its queue, is at its end", async () => {
  fault("accept4", () => () => failWith(constants.EMFILE));
  for (const accept of [
    (listener: TcpListener) => listener.accept({ timeout: 20_000 }),
    async (listener: TcpListener) => listener.acceptSync({ timeout: 20_000 }),
    async (listener: TcpListener) => listener.tryAccept(),
  ]) {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    listener.stopAccepting({ settle: 0 });
    expect(await rejection(accept(listener))).toBeInstanceOf(ClosedError);
  }
});

test("a listener that stops in a shortage takes who is in its queue first, once it can", async () => {
  const short = shortage();
  const pending = short.listener.accept({ timeout: 20_000 });
  short.listener.stopAccepting({ settle: 0 });
  await until("it to have tried again and again", () => short.asked >= 4);
  short.end();
  expect(keep(await pending).remoteAddress).toEqual(short.client.localAddress);
  expect(await rejection(short.listener.accept({ timeout: 20_000 }))).toBeInstanceOf(ClosedError);
});
