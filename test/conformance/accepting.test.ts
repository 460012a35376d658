/** Go's net/listen_test.go, tcpsock_test.go and net_test.go: clients that come, go, and the addresses that they come to. */
import { expect, test } from "bun:test";
import { ECONNABORTED } from "../../ffi/index.ts";
import { CancelSource, ClosedError, connect, connectSync, listen, SystemError, TcpListener } from "../../src/index.ts";
import { failWith, faults } from "../faults.ts";
import { keeper, pair } from "../setup.ts";
import { thrown } from "../thread.ts";
import { start } from "../victim.ts";
import { failure, forms } from "./forms.ts";

const keep = keeper();
const fault = faults();
const limits = { timeout: 30_000 };
const hostname = "127.0.0.1";

for (const form of forms) {
  const row = (name: string, body: () => Promise<void>) => test(`${name}, ${form.name}`, body);

  row("net_test TestAcceptIgnoreAbortedConnRequest: a client that has given up is passed over", async () => {
    const listener = keep(listen({ hostname }));
    let aborted = 0;
    fault(
      "accept4",
      (accept4) =>
        (...parameters) =>
          aborted++ < 5 ? failWith(ECONNABORTED) : accept4(...parameters),
    );
    const client = keep(connectSync({ hostname, port: listener.address.port }));
    const server = keep(await form.accept(listener, limits));
    expect(server.remoteAddress).toEqual(client.localAddress);
    expect(aborted).toBeGreaterThan(5);
  });

  row("error_test TestAcceptError: an accept at a closed listener is a ClosedError, again and again", async () => {
    const listener = keep(listen({ hostname }));
    listener.close();
    for (let i = 0; i < 3; i++) {
      const error = await failure(form.accept(listener, limits));
      expect(error).toBeInstanceOf(ClosedError);
      expect(error).toMatchObject({ name: "ClosedError", code: "ERR_SOCKET_CLOSED" });
    }
  });

  row("tcpsock_test TestTCPConcurrentAccept: ten at one listener share the clients; then all are freed", async () => {
    const listener = keep(listen({ hostname }));
    const { port } = listener.address;
    const cancel = keep(new CancelSource());
    if (form.name === "promises") {
      const accepts = Array.from({ length: 10 }, () => listener.accept());
      const clients = await Promise.all(Array.from({ length: 5 }, () => connect({ hostname, port })));
      for (const client of clients) keep(client);
      for (const accept of accepts.slice(0, 5)) keep(await accept); // first in, first out
      listener.close();
      for (const accept of accepts.slice(5)) expect(await failure(accept)).toBeInstanceOf(ClosedError);
      return;
    }
    // A close is for this thread's copy. All threads are freed by a source.
    const job = { listener: listener.handle, first: cancel.handle, second: cancel.handle };
    const threads = [];
    for (let i = 0; i < 10; i++) threads.push(await start(keep, "acceptors", "acceptTwice", job));
    for (const thread of threads) await thread.blocked();
    for (let i = 0; i < 20; i++) {
      using client = connectSync({ hostname, port, ...limits });
      expect(client.readSync(new Uint8Array(8), limits)).toBe(5);
    }
    cancel.cancel();
    let answered = 0;
    for (const thread of threads) {
      for (let time = 0; time < 2; time++) {
        const said = await thread.next<{ name: string; answered: number }>();
        expect(said.name).toBe("AbortError");
        answered += said.answered;
      }
      await thread.join();
    }
    expect(answered).toBe(20);
  });

  row("listen_test TestWildWildcardListener: without a hostname both families get through", async () => {
    const listener = keep(listen());
    const { port } = listener.address;
    for (const to of ["127.0.0.1", "::1", "localhost"]) {
      keep(await form.connect({ hostname: to, port, ...limits }));
      keep(await form.accept(listener, limits));
    }
  });

  row("listen_test TestDualStackTCPListener: ipv6Only leaves the port to IPv4, and its clients as well", async () => {
    const { six, four } = besideEachOther();
    for (const [to, listener, other] of [
      ["127.0.0.1", four, six],
      ["::1", six, four],
    ] as const) {
      const client = keep(await form.connect({ hostname: to, port: six.address.port, ...limits }));
      expect(keep(await form.accept(listener, limits)).remoteAddress).toEqual(client.localAddress);
      expect(other.tryAccept()).toBeNull();
    }
  });
}

/** Listeners of both families with one port. */
function besideEachOther(): { six: TcpListener; four: TcpListener } {
  for (;;) {
    const six = keep(listen({ hostname: "::", ipv6Only: true }));
    try {
      return { six, four: keep(listen({ hostname: "0.0.0.0", port: six.address.port })) };
    } catch (error) {
      if ((error as { code?: string }).code !== "EADDRINUSE") throw error; // a stranger has it there
    }
  }
}

/** Addresses that two listeners have, and whether the second one gets the same port. */
const conflicts: [first: string, second: string, options: { ipv6Only?: boolean }, works: boolean][] = [
  ["127.0.0.1", "127.0.0.1", {}, false],
  ["0.0.0.0", "0.0.0.0", {}, false],
  ["0.0.0.0", "127.0.0.1", {}, false],
  ["127.0.0.1", "0.0.0.0", {}, false],
  ["::", "::", {}, false],
  ["::1", "::1", {}, false],
  ["::", "::1", {}, false],
  ["::", "0.0.0.0", {}, false],
  ["0.0.0.0", "::", {}, false],
  ["::", "127.0.0.1", {}, false],
  ["127.0.0.1", "127.0.0.2", {}, true],
  ["127.0.0.1", "::1", {}, true],
  ["0.0.0.0", "::1", {}, true],
  ["::1", "127.0.0.1", {}, true],
  ["::", "0.0.0.0", { ipv6Only: true }, true],
  ["::", "::1", { ipv6Only: true }, false],
];
for (const [first, second, options, works] of conflicts) {
  const what = `${second} beside ${first}${options.ipv6Only ? ", IPv6 only," : ""}`;
  test(`listen_test TestTCPListener, TestDualStackTCPListener: ${what} ${works ? "works" : "is in use"}`, () => {
    // A stranger may have the port at the second address, where it should be free: then with another port.
    for (let attempt = 0; ; attempt++) {
      using one = listen({ hostname: first, ...options });
      const { port } = one.address;
      try {
        using _two = listen({ hostname: second, port });
        expect(works).toBe(true);
        return;
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        if (works && attempt < 20) continue;
        expect(works).toBe(false);
        expect(error).toMatchObject({ code: "EADDRINUSE", address: second, port });
        return;
      }
    }
  });
}

test("error_test TestListenError: every error of listen has its documented shape", () => {
  const { address } = keep(listen({ hostname }));
  const inUse = { name: "SystemError", code: "EADDRINUSE", address: hostname, port: address.port };
  expect(thrown(() => listen({ hostname, port: address.port }))).toMatchObject(inUse);
  const foreign = { name: "SystemError", code: "EADDRNOTAVAIL", syscall: "bind", address: "192.0.2.1" };
  expect(thrown(() => listen({ hostname: "192.0.2.1" }))).toMatchObject(foreign);
  expect(thrown(() => listen({ path: "/nowhere/at/all" }))).toMatchObject({ name: "SystemError", code: "ENOENT" });
  expect(thrown(() => listen({ hostname: "" }))).toBeInstanceOf(TypeError);
  expect(thrown(() => listen({ path: "" }))).toBeInstanceOf(TypeError);
  for (const port of [-1, 65_536, 1.5, Number.NaN]) expect(thrown(() => listen({ port }))).toBeInstanceOf(RangeError);
});

test("error_test TestCloseError: what is closed stays closed without an error, and its copies are none of it", () => {
  const { client, server, listener } = pair(keep);
  const copy = keep(TcpListener.from(listener.handle));
  for (const one of [client, server, listener]) {
    for (let i = 0; i < 3; i++) one.close();
    expect(one.closed).toBe(true);
  }
  expect(copy.closed).toBe(false);
  keep(connectSync({ hostname, port: copy.address.port }));
  keep(copy.acceptSync(limits));
  copy.close();
});
