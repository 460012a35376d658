import { expect, test } from "bun:test";
import type { libc } from "../../ffi/libc.ts";
import { constants } from "../../ffi/platform/index.ts";
import { CancelSource, connect, connectSync, listen, type OperationOptions, type TcpSocket } from "../../src/index.ts";
import { failWith, faults } from "../faults.ts";
import { blackHole, keeper } from "../setup.ts";
import { fdTable } from "../thread.ts";
import { rejection, turns } from "./outcome.ts";

const keep = keeper();
const fault = faults();
const reason = new Error("at that very instant");

/** The sockets that are open, by number. The reactor's own things come and go: a helper thread reads its module, say. */
const sockets = () => Object.fromEntries(Object.entries(fdTable()).filter(([, what]) => what.startsWith("socket:")));

/** Runs `then` in the instant before or behind a call, once. */
function at(call: keyof typeof libc, when: "before" | "behind", then: () => void): () => boolean {
  let done = false;
  const run = () => {
    done = true;
    then();
  };
  fault(call, ((original: (...parameters: never[]) => number) =>
    (...parameters: never[]) => {
      if (!done && when === "before") run();
      const result = original(...parameters);
      if (!done) run();
      return result;
    }) as never);
  return () => done;
}

/** Who cancels: makes the options of the connect, and the cancel. */
const cancellers: Record<string, () => { options: OperationOptions; cancel: () => void; name: string | Error }> = {
  "a source": () => {
    const cancel = keep(new CancelSource());
    return { options: { cancel }, cancel: () => cancel.cancel(reason), name: "AbortError" };
  },
  "a source that threads share": () => {
    const cancel = keep(new CancelSource());
    void cancel.handle;
    return { options: { cancel }, cancel: () => cancel.cancel(reason), name: "AbortError" };
  },
  "the parent of its source": () => {
    const parent = keep(new CancelSource());
    const cancel = keep(parent.child());
    return { options: { cancel }, cancel: () => parent.cancel(reason), name: "AbortError" };
  },
  "an AbortSignal": () => {
    const controller = new AbortController();
    return { options: { signal: controller.signal }, cancel: () => controller.abort(reason), name: reason };
  },
};

/** A working socket is one over which bytes go both ways. */
async function works(socket: TcpSocket, server: TcpSocket): Promise<void> {
  const into = new Uint8Array(8);
  await socket.write("there");
  expect(await server.read(into, { timeout: 20_000 })).toBe(5);
  await server.write("back");
  expect(await socket.read(into, { timeout: 20_000 })).toBe(4);
}

for (const [whose, make] of Object.entries(cancellers)) {
  for (const call of ["socket", "connect", "getsockopt", "getpeername", "getsockname"] as const) {
    for (const when of ["before", "behind"] as const) {
      test(`a cancel of ${whose} right ${when} ${call} gives a socket that works, or an error and nothing else`, async () => {
        const listener = keep(listen({ hostname: "127.0.0.1" }));
        const { port } = listener.address;
        keep(await connect({ hostname: "127.0.0.1", port })); // so that the reactor has what it keeps
        keep(await listener.accept());
        const { options, cancel, name } = make();
        const before = sockets();
        const happened = at(call, when, cancel);
        const outcome: TcpSocket | Error = await connect({ hostname: "127.0.0.1", port, timeout: 20_000, ...options })
          // The word has come; what comes after it is too late.
          .catch((error) => error);
        expect(happened()).toBe(true);
        if (outcome instanceof Error) {
          if (name === reason) expect(outcome).toBe(reason);
          else expect(outcome).toMatchObject({ name, cause: reason });
          expect(sockets()).toEqual(before);
        } else {
          using socket = outcome;
          await turns(); // a late cancel must not reach it
          expect(socket.closed).toBe(false);
          using server = await listener.accept({ timeout: 20_000 });
          await works(socket, server);
        }
        await turns();
        using again = await connect({ hostname: "127.0.0.1", port, timeout: 20_000 });
        expect(again.closed).toBe(false);
      });
    }
  }
}

test("a cancel once the kernel has said that the connection stands does not undo it", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  using cancel = new CancelSource();
  const happened = at("getsockname", "before", () => cancel.cancel()); // asked of a connected socket only
  using socket = await connect({ hostname: "127.0.0.1", port, cancel });
  expect(happened()).toBe(true);
  using server = await listener.accept();
  await works(socket, server);
});

test("a cancel between SO_ERROR and a getpeername that says 'not yet' ends the connect, and closes the descriptor", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  keep(await connect({ hostname: "127.0.0.1", port }));
  for (const [, make] of Object.entries(cancellers)) {
    const { options, cancel } = make();
    const before = sockets();
    let done = false;
    fault("getpeername", (getpeername) => (...parameters) => {
      if (done) return getpeername(...parameters);
      done = true;
      cancel();
      return failWith(constants.ENOTCONN);
    });
    const connecting = connect({ hostname: "127.0.0.1", port, timeout: 20_000, ...options });
    expect((await rejection(connecting)).name).toBeOneOf(["AbortError", "Error"]);
    expect(sockets()).toEqual(before);
  }
});

test("a cancel before the continuation of a connect has run is too late: the socket works", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  using cancel = new CancelSource();
  const controller = new AbortController();
  let late: (() => void) | undefined = () => {
    queueMicrotask(() => {
      cancel.cancel();
      controller.abort();
    });
    late = undefined;
  };
  fault("getsockname", (getsockname) => (...parameters) => {
    late?.();
    return getsockname(...parameters);
  });
  using socket = await connect({ hostname: "127.0.0.1", port, cancel, signal: controller.signal });
  await turns();
  expect(cancel.cancelled).toBe(true);
  using server = await listener.accept();
  await works(socket, server);
});

test("a cancel after success does nothing to the socket", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  using cancel = new CancelSource();
  void cancel.handle;
  const controller = new AbortController();
  const { port } = listener.address;
  using socket = await connect({ hostname: "127.0.0.1", port, cancel, signal: controller.signal, timeout: 30 });
  using server = await listener.accept();
  const reading = socket.read(new Uint8Array(8));
  cancel.cancel();
  controller.abort();
  await Bun.sleep(40); // its timeout is over as well
  expect(socket.closed).toBe(false);
  server.writeSync("late");
  expect(await reading).toBe(4);
});

test("2,000 dials that a cancel races, at any instant: each is a working socket or nothing", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  keep(await connect({ hostname: "127.0.0.1", port }));
  keep(await listener.accept());
  const before = sockets();
  const seen = { connected: 0, cancelled: 0 };
  const into = new Uint8Array(8);
  for (let i = 0; i < 2000; i++) {
    using cancel = new CancelSource();
    const connecting = connect({ hostname: "127.0.0.1", port, cancel }).catch((error) => error as Error);
    // Immediately, after microtasks, or after turns of the loop; or, in a quarter of the rounds, after the result.
    if (i % 4 === 3) await connecting;
    else if (i % 4 !== 0) for (let wait = Math.floor(Math.random() * 8); wait > 0; wait--) await Promise.resolve();
    cancel.cancel(i);
    const outcome = await connecting;
    if (outcome instanceof Error) {
      expect(outcome).toMatchObject({ name: "AbortError", cause: i });
      seen.cancelled++;
    } else {
      seen.connected++;
      outcome.writeSync("mine");
      for (;;) {
        // Those that were cancelled may be in the queue before it: they have ended.
        using server = await listener.accept({ timeout: 20_000 });
        const count = await server.read(into, { timeout: 20_000 }).catch(() => 0);
        if (count === 0) continue;
        expect(count).toBe(4);
        break;
      }
      outcome.close();
    }
    for (let rest = listener.tryAccept(); rest !== null; rest = listener.tryAccept()) rest.close();
  }
  expect(sockets()).toEqual(before);
  expect(seen.connected + seen.cancelled).toBe(2000);
  expect(seen.connected).toBeGreaterThan(100);
  expect(seen.cancelled).toBeGreaterThan(100);
});

test("cancelled dials poison no later dial: one to a closed port is refused every time", async () => {
  const hole = blackHole(keep);
  const closed = listen({ hostname: "127.0.0.1" });
  const { port } = closed.address;
  closed.close();
  await rejection(connect({ hostname: "127.0.0.1", port }));
  const before = sockets();
  for (let i = 0; i < 300; i++) {
    using cancel = new CancelSource();
    const first = connect({ hostname: "127.0.0.1", port: hole.port, cancel });
    const second = connect({ hostname: "127.0.0.1", port }); // takes the number that the first gives back, or the next
    if (i % 2 === 0) await turns(1);
    cancel.cancel();
    expect((await rejection(first)).name).toBe("AbortError");
    expect(await rejection(second)).toMatchObject({ code: "ECONNREFUSED" });
    expect(() => connectSync({ hostname: "127.0.0.1", port })).toThrow("ECONNREFUSED");
  }
  expect(sockets()).toEqual(before);
});
