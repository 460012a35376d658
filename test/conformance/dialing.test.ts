/** Go's net/dial_test.go and its kin: what a cancel does to a dial, and a dial to what comes after it. */
import { expect, test } from "bun:test";
import { CancelledError, CancelSource, connect, connectSync, listen, type TcpSocket } from "../../src/index.ts";
import { BLOCKS, CANCELLED } from "../bodies/conformance-peers.ts";
import { faults } from "../faults.ts";
import { descriptors } from "../fds.ts";
import { reach } from "../gates.ts";
import { resolveTo } from "../names.ts";
import { blackHole, keeper, pair, readText, refusedPort } from "../setup.ts";
import { thrown } from "../thread.ts";
import { start } from "../victim.ts";
import { mainThread, unchangedSince, warmUp } from "./connections.ts";
import { failure, forms } from "./forms.ts";

const keep = keeper();
const fault = faults();
const SOON = 30_000;
const hostname = "127.0.0.1";

/** `write` here is `read` there. */
function flows(from: TcpSocket, to: TcpSocket): void {
  from.writeSync("hello");
  expect(readText(to)).toBe("hello");
}

for (const form of forms) {
  const row = (origin: string, body: () => Promise<void>) => test(`${origin}, ${form.name}`, body);

  // Go wants an error, and closes the socket that it has. Here a system call that has succeeded wins: the dial ends well,
  // the socket works, and the cancel does not reach it.
  row(
    "dial_test TestDialContextCancelRace (16523): a cancel behind SO_ERROR, which said 0, comes too late",
    async () => {
      const listener = keep(listen({ hostname }));
      const cancel = keep(new CancelSource());
      let asked = 0;
      fault("getsockopt", (getsockopt) => (...parameters) => {
        const result = getsockopt(...parameters);
        if (++asked === 1) cancel.cancel("late");
        return result;
      });
      const socket = keep(await form.connect({ hostname, port: listener.address.port, cancel, timeout: SOON }));
      expect(asked).toBe(1);
      expect(cancel.cancelled).toBe(true);
      flows(socket, keep(listener.acceptSync({ timeout: SOON })));
      const error = await failure(form.connect({ hostname, port: listener.address.port, cancel }));
      expect(error).toBeInstanceOf(CancelledError);
    },
  );

  row("dial_test TestDialCancel: a cancel ends a dial that nobody answers, and nothing stays open", async () => {
    const { port } = blackHole(keep);
    await warmUp(keep);
    const cancel = keep(new CancelSource());
    const { handle } = cancel;
    const before = descriptors();
    if (form.name === "promises") {
      const dialling = failure(connect({ hostname, port, cancel }));
      await Bun.sleep(20);
      cancel.cancel("enough");
      expect(await dialling).toMatchObject({ name: "AbortError", code: "ABORT_ERR", cause: "enough" });
      const abort = new AbortController();
      const reason = new Error("enough");
      const another = failure(connect({ hostname, port, signal: abort.signal }));
      await Bun.sleep(20);
      abort.abort(reason);
      expect(await another).toBe(reason);
    } else {
      const job = { cancel: handle, tid: mainThread, times: 1 };
      const thread = await start(keep, "conformance-peers", "cancelWhenBlocked", job);
      reach(thread.flags, BLOCKS);
      expect(thrown(() => connectSync({ hostname, port, cancel })).cause).toBe("time 1");
      expect(Atomics.load(thread.flags, CANCELLED)).toBe(1);
    }
    await unchangedSince(before);
  });

  row(
    "dial_test TestCancelAfterDial (15078): a cancel right behind a dial's success does not reach the socket",
    async () => {
      const listener = keep(listen({ hostname }));
      for (let i = 0; i < 100; i++) {
        using cancel = new CancelSource();
        using socket = await form.connect({ hostname, port: listener.address.port, cancel, timeout: SOON });
        cancel.cancel();
        using server = await form.accept(listener, { timeout: SOON });
        for (const [from, to] of [
          [socket, server],
          [server, socket],
        ] as const) {
          expect(await form.write(from, "echo")).toBe(4);
          expect(await form.read(to, new Uint8Array(16))).toBe(4);
        }
      }
    },
  );

  row("dial_test TestDialClosedPortFailFast: a port that nobody listens on is refused, not waited for", async () => {
    const port = refusedPort();
    const error = await failure(form.connect({ hostname, port, timeout: SOON }));
    expect(error).toMatchObject({
      name: "SystemError",
      code: "ECONNREFUSED",
      syscall: "connect",
      address: hostname,
      port,
    });
    const without = await failure(form.connectAt({ path: "/nowhere/at/all", timeout: SOON }));
    expect(without).toMatchObject({ name: "SystemError", code: "ENOENT", syscall: "connect" });
  });

  row("dial_test TestDialWithNonZeroDeadline: whatever means no deadline, none there is", async () => {
    const { port } = keep(listen({ hostname })).address;
    for (const timeout of [null, undefined, Number.POSITIVE_INFINITY]) {
      keep(await form.connect({ hostname, port, timeout }));
    }
  });

  row("dial_test TestDialError, TestContextError: every error of a dial has its documented shape", async () => {
    const port = refusedPort();
    using cancelled = new CancelSource();
    cancelled.cancel("no");
    resolveTo(fault, []);
    for (const [options, shape] of [
      [
        { hostname, port },
        { name: "SystemError", code: "ECONNREFUSED", syscall: "connect" },
      ],
      [
        { hostname, port, cancel: cancelled },
        { name: "AbortError", code: "ABORT_ERR", cause: "no" },
      ],
      [
        { hostname, port, timeout: 0 },
        { name: "TimeoutError", code: "ERR_TIMEOUT", timeout: true },
      ],
      [
        { hostname, port, localAddress: "192.0.2.1" },
        { name: "SystemError", code: "EADDRNOTAVAIL", syscall: "bind" },
      ],
      [{ hostname: "", port }, { name: "TypeError" }],
      [{ hostname, port: -1 }, { name: "RangeError" }],
      [{ hostname, port: 65_536 }, { name: "RangeError" }],
      [{ hostname: "a\0b", port }, { name: "TypeError" }],
    ] as const) {
      const error = await failure(form.connect(options));
      expect(error).toBeInstanceOf(Error);
      expect(error).toMatchObject(shape);
    }
  });

  row("tcpsock_test TestTCPSelfConnect (18290): dials of a closed port never meet themselves", async () => {
    const port = refusedPort();
    for (let i = 0; i < 2000; i++) {
      const dial = form.connect({ hostname, port, timeout: SOON });
      const met = await dial.then(
        (socket) => {
          using open = socket; // of a stranger that was given this port meanwhile
          return open.localAddress.port === port;
        },
        (error) => error.code !== "ECONNREFUSED" && error,
      );
      expect(met).toBe(false);
    }
    const own = refusedPort();
    expect((await failure(form.connect({ hostname, port: own, localPort: own }))).code).toBe("ECONNREFUSED");
  });

  row("tcpsock_test TestTCPSpuriousConnSetupCompletion (14548): success is never followed by ENOTCONN", async () => {
    const { listener } = pair(keep);
    const codes = new Set<string>();
    for (let i = 0; i < 1000; i++) {
      using socket = await form.connect({ hostname, port: listener.address.port, timeout: SOON });
      using server = await form.accept(listener, { timeout: SOON });
      if (i % 2 === 0) server.close();
      await form.write(socket, "x").catch((error) => codes.add(error.code));
      if (i % 2 === 1) expect(await form.read(server, new Uint8Array(2), { timeout: SOON })).toBe(1);
    }
    expect([...codes].filter((code) => code !== "ECONNRESET" && code !== "EPIPE")).toEqual([]);
  });

  row(
    "tcpsock_test TestTCPSpuriousConnSetupCompletionWithCancel (19289): a dial that was cut short never makes another one to a closed port succeed",
    async () => {
      const { port } = blackHole(keep);
      const closed = refusedPort();
      for (let i = 0; i < 500; i++) {
        const cut = await failure(form.connect({ hostname, port, timeout: 0.001 }));
        expect(cut.name).toBe("TimeoutError");
        const refused = failure(form.connect({ hostname, port: closed, timeout: SOON }));
        if (form.name === "promises") {
          using cancel = new CancelSource();
          const other = failure(connect({ hostname, port, cancel }));
          cancel.cancel();
          expect((await other).name).toBe("AbortError");
        }
        expect((await refused).code).toBe("ECONNREFUSED");
      }
    },
  );

  row(
    "lookup_test TestLookupContextCancel (22724): a lookup that is given up does not spoil the next one",
    async () => {
      const listener = keep(listen({ hostname }));
      resolveTo(fault, [hostname]);
      using cancelled = new CancelSource();
      cancelled.cancel();
      const options = { hostname: "name.test", port: listener.address.port, timeout: SOON };
      for (let i = 0; i < 50; i++) {
        expect((await failure(form.connect({ ...options, cancel: cancelled }))).name).toBe("AbortError");
        expect((await failure(form.connect({ ...options, timeout: 0 }))).name).toBe("TimeoutError");
      }
      if (form.name === "blocking") keep(connectSync(options));
      else keep(await connect({ ...options, lookup: async () => [{ address: hostname, port: 0, family: "IPv4" }] }));
    },
  );
}

test("lookup_test TestLookupHostCancel (24178): 600 lookups without an answer are left at once, promises", async () => {
  const listener = keep(listen({ hostname }));
  const { port } = listener.address;
  const left: AbortSignal[] = [];
  const silent = (_name: string, { signal }: { signal: AbortSignal }) => {
    left.push(signal);
    return new Promise<never>(() => {});
  };
  using cancel = new CancelSource();
  const dialling = Array.from({ length: 600 }, () =>
    failure(connect({ hostname: "name.test", port, cancel, lookup: silent })),
  );
  cancel.cancel("enough");
  for (const error of await Promise.all(dialling)) expect(error).toBeInstanceOf(CancelledError);
  expect(left.map(({ aborted }) => aborted)).toEqual(Array.from({ length: 600 }, () => true));
  const found = async () => [{ address: hostname, port: 0, family: "IPv4" as const }];
  flows(keep(await connect({ hostname: "name.test", port, lookup: found })), keep(await listener.accept()));
});

test("dial_test TestDialerDualStackFDLeak: ten dials at once leave no socket behind that is not theirs, promises", async () => {
  const first = keep(listen({ hostname }));
  const { port } = first.address;
  keep(listen({ hostname: "::1", port }));
  await warmUp(keep);
  const before = descriptors();
  const sockets = await Promise.all(
    Array.from({ length: 10 }, () => connect({ hostname: "localhost", port, fallbackDelay: 0, timeout: SOON })),
  );
  for (const socket of sockets) socket.close();
  await unchangedSince(before);
});
