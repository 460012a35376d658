import { expect, test } from "bun:test";
import { F_DUPFD_CLOEXEC, fcntl, close as rawClose } from "../../ffi/index.ts";
import { constants } from "../../ffi/platform/index.ts";
import { CancelledError, CancelSource, ClosedError, SystemError } from "../../src/index.ts";
import { failWith, faults } from "../faults.ts";
import { isOpen, takeNumber } from "../fds.ts";
import { keeper, pair, readAll } from "../setup.ts";
import { failure, forms } from "./forms.ts";

const keep = keeper();
const fault = faults();
const one = () => new Uint8Array(1);
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** More than the kernel ever buffers. */
const BULK = new Uint8Array(64 << 20);

/** Fills the socket's buffers; how many bytes they took. */
function fill(socket: { tryWrite(data: Uint8Array): number | null }): number {
  let taken = 0;
  for (let count: number | null; (count = socket.tryWrite(new Uint8Array(1 << 16))) !== null; ) taken += count;
  return taken;
}

for (const form of forms) {
  const row = (origin: string, promise: string, body: () => Promise<void>) =>
    test(`${origin} (${form.name}): ${promise}`, body);

  row(
    "trio test_SocketType_non_blocking_paths",
    "woken, and the data is gone: it waits on, and gets what comes next",
    async () => {
      const { client, server } = pair(keep);
      const messages = ["stolen", "stolen", "real"];
      let steals = 2;
      fault("recv", (recv) => (...parameters) => {
        const count = recv(...parameters);
        // .NET's sequence number, as well: what it waits for comes right behind the try that did not find it.
        if (count === -1) {
          server.writeSync(messages.shift()!);
          return failWith(constants.EAGAIN);
        }
        if (steals-- <= 0) return count;
        server.writeSync(messages.shift()!);
        return failWith(constants.EAGAIN);
      });
      const into = new Uint8Array(64);
      const count = await form.read(client, into, { timeout: 20_000 });
      expect(Buffer.from(into.subarray(0, count)).toString()).toBe("real");
      expect(client.bytesRead).toBe(4);
    },
  );

  row(
    "cancellable_io, other wakes time out early",
    "a wake-up that finds nothing does not end the timeout",
    async () => {
      const { client, server } = pair(keep);
      let steals = 0;
      fault("recv", (recv) => (...parameters) => {
        const count = recv(...parameters);
        if (steals++ < 50) server.writeSync("x"); // wakes it at once, and is taken away
        return count === -1 ? count : failWith(constants.EAGAIN);
      });
      const start = performance.now();
      const error = await failure(form.read(client, new Uint8Array(64), { timeout: 50 }));
      expect(performance.now() - start).toBeGreaterThan(49);
      expect(error.name).toBe("TimeoutError");
      expect(steals).toBeGreaterThan(2);
    },
  );

  row(
    "cancellable_io, object before stop in one batch",
    "data wins, and the cancel is not lost on the next read",
    async () => {
      const { client, server } = pair(keep);
      using cancel = new CancelSource();
      void cancel.handle; // with a doorbell
      fault("recv", (recv) => (...parameters) => {
        const count = recv(...parameters);
        if (count === 1) cancel.cancel("in the same instant");
        return count;
      });
      server.writeSync("ab");
      expect(await form.read(client, one(), { cancel })).toBe(1);
      expect((await failure(form.read(client, one(), { cancel }))).cause).toBe("in the same instant");
      expect(await form.read(client, one())).toBe(1);
    },
  );

  row("anyio 1299", "a cancelled write leaves nothing in a buffer of ours, however often", async () => {
    const { client, server } = pair(keep);
    let taken = fill(client);
    for (let i = 0; i < 200; i++) {
      using cancel = CancelSource.timeout(0.05);
      const error = await failure(form.write(client, BULK, { cancel }));
      expect(error.name).toBe("TimeoutError");
      taken += error.bytesWritten!;
    }
    expect(client.bytesWritten).toBe(taken);
    client.closeWrite();
    expect(readAll(server).length).toBe(taken);
  });

  row(
    "anyio close_after_cancelled_io",
    "a socket whose read and write were cancelled closes well, and the peer reads the end",
    async () => {
      const { client, server } = pair(keep);
      await failure(form.read(client, one(), { timeout: 1 }));
      await failure(form.write(client, BULK, { timeout: 1 }));
      const { fd, bytesWritten } = client;
      client.close();
      expect(isOpen(fd)).toBe(false);
      expect(readAll(server).length).toBe(bytesWritten);
    },
  );
}

// trio raises BusyResourceError for a second reader or writer, anyio too; here they queue.
test("trio double_read, double_write; anyio concurrent_send, concurrent_receive (promises): the second one queues", async () => {
  const { client, server } = pair(keep);
  const reads = [client.read(one()), client.read(one())];
  server.writeSync("a");
  expect(await reads[0]).toBe(1);
  server.writeSync("b");
  expect(await reads[1]).toBe(1);
  const filled = fill(client);
  const writes = [client.write("one"), client.write("two")];
  let received = 0;
  const into = new Uint8Array(1 << 16);
  while (received < filled + 6) received += await server.read(into, { timeout: 20_000 });
  expect(await Promise.all(writes)).toEqual([3, 3]);
});

test("trio test_wait_basic (promises): a wait ends with readiness, and a cancelled one leaves the next alone", async () => {
  const { client, server } = pair(keep);
  using cancel = new CancelSource();
  const cancelled = failure(client.read(one(), { cancel }));
  await turn();
  cancel.cancel();
  expect(await cancelled).toBeInstanceOf(CancelledError);
  const next = client.read(one());
  await turn();
  server.writeSync("x");
  expect(await next).toBe(1);
});

test("trio test_interrupted_by_close, anyio close_during_receive and …_send (promises): reader and writer both fail", async () => {
  const { client } = pair(keep);
  const both = [client.read(one()), client.write(BULK)].map(failure);
  await turn();
  client.close();
  for (const error of await Promise.all(both)) expect(error).toBeInstanceOf(ClosedError);
});

test("trio test_socket_simultaneous_read_write (promises): two waiters on one descriptor wake independently", async () => {
  const { client, server } = pair(keep);
  const order: string[] = [];
  const reading = client.read(new Uint8Array(8)).then(() => order.push("read"));
  const writing = client.write(BULK).then(() => order.push("written"));
  await turn();
  server.writeSync("for the reader");
  await reading;
  expect(order).toEqual(["read"]); // the writer still waits
  const into = new Uint8Array(1 << 16);
  for (let left = BULK.length; left > 0; ) left -= await server.read(into, { timeout: 20_000 });
  await writing;
  expect(order).toEqual(["read", "written"]);
});

for (const duplicated of [false, true]) {
  const how = duplicated ? "with a duplicate left open" : "without a duplicate";
  test(`trio test_can_survive_unnotified_close, ${how} (promises): what waits can be cancelled, and all else goes on`, async () => {
    const { client } = pair(keep);
    const other = pair(keep);
    using cancel = new CancelSource();
    const both = [client.read(one(), { cancel }), client.write(BULK, { cancel })].map(failure);
    await turn();
    const { fd } = client;
    const duplicate = duplicated ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    rawClose(fd);
    // The number stays taken, so that the socket's own close hits nobody else.
    takeNumber(fd);
    await turn();
    cancel.cancel();
    for (const error of await Promise.all(both)) expect(error.name).toBeOneOf(["AbortError", "SystemError"]);
    const reading = other.client.read(one());
    other.server.writeSync("x");
    expect(await reading).toBe(1);
    if (duplicated) rawClose(duplicate);
    // Whoever closes a descriptor that is not his may hear of it; the socket is closed all the same.
    try {
      client.close();
    } catch (error) {
      expect(error).toBeInstanceOf(SystemError);
    }
    expect(client.closed).toBe(true);
    if (isOpen(fd)) rawClose(fd);
    expect((await failure(other.client.read(one(), { timeout: 5 }))).name).toBe("TimeoutError");
  });
}

test("anyio 1273, aclose_waits_for_fd_release (promises): closing gracefully at once from two places ends once the descriptor is free", async () => {
  const { client, server } = pair(keep);
  const { fd } = client;
  const closings = [client.closeGracefully(), client.closeGracefully()].map((closing) =>
    closing.then(() => isOpen(fd)),
  );
  await turn();
  expect(client.closed).toBe(false); // the peer has not ended
  server.close();
  expect(await Promise.all(closings)).toEqual([false, false]);
  await client.closeGracefully();
});
