import { expect, test } from "bun:test";
import type { libc } from "../ffi/libc.ts";
import { CancelledError, CancelSource, connectSync, listen, type TcpSocket } from "../src/index.ts";
import { faults } from "./faults.ts";
import { resolveTo } from "./names.ts";
import { blackHole, keeper, readText, refusedPort } from "./setup.ts";
import { fdTable, thrown } from "./thread.ts";

const keep = keeper();
const fault = faults();

/** Cancels in the instant before or behind a call, once. */
function cancelAt(source: CancelSource, call: keyof typeof libc, when: "before" | "after"): () => boolean {
  let done = false;
  const cancel = () => {
    done = true;
    source.cancel("at that very instant");
  };
  fault(call, ((original: (...parameters: never[]) => number) =>
    (...parameters: never[]) => {
      if (!done && when === "before") cancel();
      const result = original(...parameters);
      if (!done) cancel();
      return result;
    }) as never);
  return () => done;
}

for (const shared of [false, true]) {
  for (const call of ["socket", "connect", "getsockopt", "getpeername", "getsockname"] as const) {
    for (const when of ["before", "after"] as const) {
      const whose = shared ? "a source that threads share" : "a source";
      test(`a cancel of ${whose} right ${when} ${call} gives a socket that works or an error and nothing else`, () => {
        const listener = keep(listen({ hostname: "127.0.0.1" }));
        const { port } = listener.address;
        using cancel = new CancelSource();
        if (shared) void cancel.handle;
        const before = fdTable();
        const happened = cancelAt(cancel, call, when);
        let socket: TcpSocket | undefined;
        try {
          socket = connectSync({ hostname: "127.0.0.1", port, cancel, timeout: 20_000 });
        } catch (error) {
          expect(error).toBeInstanceOf(CancelledError);
          expect((error as Error).cause).toBe("at that very instant");
          expect(fdTable()).toEqual(before);
        }
        expect(happened()).toBe(true);
        if (socket !== undefined) {
          using open = socket;
          using server = listener.acceptSync({ timeout: 5000 });
          open.writeSync("works");
          expect(readText(server)).toBe("works");
        }
        // Nothing of it is left for the next one.
        cancel.reset();
        using next = connectSync({ hostname: "127.0.0.1", port, cancel, timeout: 20_000 });
        expect(next.closed).toBe(false);
      });
    }
  }
}

test("a cancel once the kernel has said that the connection stands does not undo it", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const { port } = listener.address;
  using cancel = new CancelSource();
  const happened = cancelAt(cancel, "getsockname", "before"); // asked of a connected socket only
  using socket = connectSync({ hostname: "127.0.0.1", port, cancel, timeout: 20_000 });
  expect(happened()).toBe(true);
  using server = listener.acceptSync({ timeout: 5000 });
  server.writeSync("hello");
  expect(readText(socket)).toBe("hello");
});

test("a cancel after success does nothing to the socket", () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  using cancel = new CancelSource();
  void cancel.handle;
  using socket = connectSync({ hostname: "127.0.0.1", port: listener.address.port, cancel });
  using server = listener.acceptSync({ timeout: 5000 });
  cancel.cancel("too late");
  for (let i = 0; i < 3; i++) {
    socket.writeSync(`echo ${i}`);
    expect(readText(server)).toBe(`echo ${i}`);
    server.writeSync("yes");
    expect(readText(socket)).toBe("yes");
  }
  // It is the operations that were given the source that end.
  expect(thrown(() => socket.readSync(new Uint8Array(1), { cancel }))).toBeInstanceOf(CancelledError);
  expect(socket.closed).toBe(false);
});

test("a cancel in the middle of a race of addresses closes them all", () => {
  const { port } = blackHole(keep);
  const second = keep(listen({ hostname: "127.0.0.2", port, backlog: 0 }));
  keep(connectSync({ hostname: "127.0.0.2", port }));
  resolveTo(fault, ["127.0.0.1", "127.0.0.2"]);
  using cancel = new CancelSource();
  const before = fdTable();
  let connects = 0;
  fault("connect", (connect) => (...parameters) => {
    const result = connect(...parameters);
    if (++connects === 2) cancel.cancel("both are under way");
    return result;
  });
  // Not shared, so no doorbell rings: the word is looked at on the next wake-up.
  const error = thrown(() => connectSync({ hostname: "name.test", port, cancel, fallbackDelay: 10, timeout: 200 }));
  expect(error.name).toBeOneOf(["AbortError", "TimeoutError"]);
  expect(connects).toBe(2);
  expect(fdTable()).toEqual(before);
  second.close();
});

test("dials that were cancelled never make another dial to a closed port succeed", () => {
  const port = refusedPort();
  const hole = blackHole(keep);
  const before = fdTable();
  for (let i = 0; i < 500; i++) {
    using cancel = new CancelSource();
    const stop = () => cancel.cancel();
    fault("getpeername", (getpeername) => (...parameters) => {
      stop();
      return getpeername(...parameters);
    });
    const timeout = 0.5;
    expect(thrown(() => connectSync({ hostname: "127.0.0.1", port: hole.port, cancel, timeout })).name).toBeOneOf([
      "AbortError",
      "TimeoutError",
    ]);
    expect(thrown(() => connectSync({ hostname: "127.0.0.1", port })).code).toBe("ECONNREFUSED");
  }
  expect(fdTable()).toEqual(before);
});
