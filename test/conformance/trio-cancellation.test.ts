import { expect, test } from "bun:test";
import { CancelledError, CancelSource, ClosedError, connect, TimeoutError } from "../../src/index.ts";
import { systemCalls } from "../faults.ts";
import { more } from "../leaks.ts";
import { blackHole, keeper, pair, readText } from "../setup.ts";
import { fdTable } from "../thread.ts";
import { failure, forms } from "./forms.ts";

const keep = keeper();
const one = () => new Uint8Array(1);
const turn = () => new Promise((resolve) => setImmediate(resolve));

for (const form of forms) {
  const row = (origin: string, promise: string, body: () => Promise<void>) =>
    test(`${origin} (${form.name}): ${promise}`, body);

  row("trio level-triggered cancellation", "under a cancelled source every operation fails, each time", async () => {
    const { client, server, listener } = pair(keep);
    using cancel = new CancelSource();
    cancel.cancel("gone");
    server.writeSync("kept");
    for (let i = 0; i < 10; i++) {
      for (const operation of [
        form.read(client, one(), { cancel }),
        form.write(client, "x", { cancel }),
        form.accept(listener, { cancel }),
        form.connect({ hostname: "127.0.0.1", port: listener.address.port, cancel }),
      ]) {
        expect(await failure(operation)).toMatchObject({ name: "AbortError", cause: "gone" });
      }
    }
    expect(readText(client)).toBe("kept");
    expect(listener.tryAccept()).toBeNull();
  });

  row("trio test_cancel_edge_cases", "cancel is idempotent, and the first reason is kept", async () => {
    const { client } = pair(keep);
    using cancel = new CancelSource();
    expect([cancel.cancel("first"), cancel.cancel("second")]).toEqual([true, false]);
    expect((await failure(form.read(client, one(), { cancel }))).cause).toBe("first");
  });

  row("trio test_precancelled_task", "what is cancelled before it begins has no side effect", async () => {
    const { listener } = pair(keep);
    using cancel = new CancelSource();
    cancel.cancel();
    let connecting: Promise<unknown> = Promise.resolve();
    const { port } = listener.address;
    const before = fdTable();
    const calls = systemCalls(() => {
      connecting = failure(form.connect({ hostname: "127.0.0.1", port, cancel }));
    });
    expect(await connecting).toBeInstanceOf(CancelledError);
    expect(calls).toEqual([]);
    expect(more(before, "socket:")).toBe(0); // a helper thread of an earlier test may be opening its own things
    expect(listener.tryAccept()).toBeNull();
  });

  row(
    "trio test_cancel_points",
    "also what succeeds at once, and what has nothing to do, looks at the cancel",
    async () => {
      const { client, server } = pair(keep);
      using cancel = new CancelSource();
      server.writeSync("at once");
      cancel.cancel();
      for (const operation of [
        form.read(client, new Uint8Array(8), { cancel }),
        form.read(client, new Uint8Array(0), { cancel }),
        form.write(client, "", { cancel }),
        form.writev(client, [], { cancel }),
      ]) {
        expect(await failure(operation)).toBeInstanceOf(CancelledError);
      }
    },
  );

  row("trio test_cancel_scope_nesting", "the outer cancel ends the inner, and never the other way round", async () => {
    const { client, server } = pair(keep);
    using outer = new CancelSource();
    using inner = outer.child();
    inner.cancel("inner");
    expect((await failure(form.read(client, one(), { cancel: inner }))).cause).toBe("inner");
    server.writeSync("o");
    expect(await form.read(client, one(), { cancel: outer })).toBe(1);
    inner.reset();
    outer.cancel("outer");
    expect((await failure(form.read(client, one(), { cancel: inner }))).cause).toBe("outer");
  });

  // There is no shield here: what is not to be cancelled is given another source, or none.
  row("trio test_cancel_shielding", "an operation without the cancelled source goes on", async () => {
    const { client, server } = pair(keep);
    using outer = new CancelSource();
    using shielded = new CancelSource();
    outer.cancel();
    server.writeSync("ab");
    expect(await form.read(client, one(), { cancel: shielded })).toBe(1);
    expect(await form.read(client, one())).toBe(1);
  });

  row(
    "trio 1175, unshield while a cancel propagates",
    "a child that is reset under a cancelled parent stays cancelled",
    async () => {
      const { client } = pair(keep);
      using outer = new CancelSource();
      using inner = outer.child();
      outer.cancel("outer");
      inner.reset();
      expect((await failure(form.read(client, one(), { cancel: inner }))).cause).toBe("outer");
    },
  );

  row("trio current_effective_deadline", "the earliest of all deadlines counts, and none fires early", async () => {
    const { client } = pair(keep);
    const start = performance.now();
    using outer = CancelSource.timeout(30);
    using inner = outer.child();
    client.setDeadline(60_000);
    const error = await failure(form.read(client, one(), { cancel: inner, timeout: 50_000 }));
    expect(performance.now() - start).toBeGreaterThan(29);
    expect(error).toBeInstanceOf(TimeoutError);
    // cancel_called never reverts: a later deadline elsewhere does not lift it.
    client.setDeadline(null);
    expect(await failure(form.read(client, one(), { cancel: inner }))).toBeInstanceOf(TimeoutError);
  });

  row("trio fail_after", "NaN is refused, and a negative time has passed", async () => {
    const { client } = pair(keep);
    expect(await failure(form.read(client, one(), { timeout: Number.NaN }))).toBeInstanceOf(RangeError);
    expect(await failure(form.read(client, one(), { timeout: -1 }))).toBeInstanceOf(TimeoutError);
    expect(() => CancelSource.timeout(Number.NaN)).toThrow(RangeError);
  });

  row(
    "tokio create_child_token_after_parent_was_cancelled",
    "a child of a cancelled source is born cancelled",
    async () => {
      const { client } = pair(keep);
      using parent = new CancelSource();
      parent.cancel("before");
      using child = parent.child();
      expect((await failure(form.read(client, one(), { cancel: child }))).cause).toBe("before");
    },
  );

  row("tokio cancel_grandchild_token_through_parent_if_child_was_dropped", "the middle may be gone", async () => {
    const { client } = pair(keep);
    using parent = new CancelSource();
    const middle = parent.child();
    using grandchild = middle.child();
    middle.dispose();
    parent.cancel("from the top");
    expect((await failure(form.read(client, one(), { cancel: grandchild }))).cause).toBe("from the top");
  });

  // DropGuard cancels when it is dropped; here `dispose` lets go and cancels nothing.
  row("tokio drop_parent_before_child_tokens", "a child of a disposed source works, and can be cancelled", async () => {
    const { client, server } = pair(keep);
    const parent = new CancelSource();
    using child = parent.child();
    parent.dispose();
    server.writeSync("x");
    expect(await form.read(client, one(), { cancel: child })).toBe(1);
    child.cancel();
    expect(await failure(form.read(client, one(), { cancel: child }))).toBeInstanceOf(CancelledError);
  });

  row(
    "Asio, emitting before start and after completion",
    "what has its result keeps it, and what comes after the reset is not hit",
    async () => {
      const { client, server } = pair(keep);
      using cancel = new CancelSource();
      cancel.cancel();
      cancel.reset();
      server.writeSync("xy");
      expect(await form.read(client, one(), { cancel })).toBe(1);
      cancel.cancel();
      cancel.reset();
      expect(await form.read(client, one(), { cancel })).toBe(1);
    },
  );

  row(
    "Java, ClosedByInterruptException",
    "a cancel does not close the socket, and is sticky for its source",
    async () => {
      const { client, server } = pair(keep);
      using cancel = new CancelSource();
      cancel.cancel();
      expect(await failure(form.read(client, one(), { cancel }))).toBeInstanceOf(CancelledError);
      expect(client.closed).toBe(false);
      server.writeSync("x");
      expect(await failure(form.read(client, one(), { cancel }))).toBeInstanceOf(CancelledError);
      expect(await form.read(client, one())).toBe(1);
    },
  );
}

test("trio test_basic_timeout (promises): the deadline of what is pending moves later, earlier, and away", async () => {
  const { client, server } = pair(keep);
  client.setReadDeadline(20);
  const start = performance.now();
  const first = failure(client.read(one()));
  client.setReadDeadline(60);
  expect(await first).toBeInstanceOf(TimeoutError);
  expect(performance.now() - start).toBeGreaterThan(59);
  client.setReadDeadline(60_000);
  const second = failure(client.read(one()));
  client.setReadDeadline(5);
  expect(await second).toBeInstanceOf(TimeoutError);
  client.setReadDeadline(5);
  const third = client.read(one());
  client.setReadDeadline(null);
  await Bun.sleep(20);
  server.writeSync("x");
  expect(await third).toBe(1);
});

test("trio cancel_unbound (promises): a source with nothing under it is cancelled without harm, and what comes later fails", async () => {
  const { client } = pair(keep);
  using cancel = new CancelSource();
  expect(cancel.cancel("early")).toBe(true);
  expect((await failure(client.read(one(), { cancel }))).cause).toBe("early");
});

test("tokio cancel_only_all_descendants (promises): what is pending under the cancelled branch ends, and nothing else", async () => {
  const { client, server } = pair(keep);
  using root = new CancelSource();
  using branch = root.child();
  using leaf = branch.child();
  using sibling = root.child();
  const outcomes: string[] = [];
  const watch = (name: string, cancel: CancelSource) =>
    client.read(one(), { cancel }).then(
      () => outcomes.push(`${name} read`),
      () => outcomes.push(`${name} cancelled`),
    );
  const all = [watch("root", root), watch("branch", branch), watch("leaf", leaf), watch("sibling", sibling)];
  await turn();
  branch.cancel();
  await Promise.all([all[1], all[2]]);
  expect(outcomes.toSorted()).toEqual(["branch cancelled", "leaf cancelled"]);
  server.writeSync("ab");
  await Promise.all(all);
  expect(outcomes.slice(2)).toEqual(["root read", "sibling read"]);
});

test("trio test_SocketType_connect_paths (promises): a cancel in the middle of connect closes its descriptor", async () => {
  const { port } = blackHole(keep);
  for (const when of ["at once", "in the loop"]) {
    using cancel = new CancelSource();
    const first = failure(connect({ hostname: "127.0.0.1", port, timeout: 1 })); // so that the reactor has what it keeps
    expect(await first).toBeInstanceOf(TimeoutError);
    const before = fdTable();
    const connecting = failure(connect({ hostname: "127.0.0.1", port, cancel }));
    if (when === "in the loop") await turn();
    expect(more(before, "socket:")).toBe(1);
    cancel.cancel();
    expect(more(before, "socket:")).toBe(0); // before the rejection is heard of
    expect(await connecting).toBeInstanceOf(CancelledError);
  }
});

test("anyio 1250 (promises): close and abort in one turn give one outcome, whichever is first", async () => {
  for (const closeFirst of [true, false]) {
    const { client } = pair(keep);
    const controller = new AbortController();
    const reading = client.read(one(), { signal: controller.signal });
    await turn();
    const reason = new Error("abort");
    const acts = [() => client.close(), () => controller.abort(reason)];
    for (const act of closeFirst ? acts : acts.toReversed()) act();
    const error = await failure(reading);
    if (closeFirst) expect(error).toBeInstanceOf(ClosedError);
    else expect(error).toBe(reason);
  }
});
