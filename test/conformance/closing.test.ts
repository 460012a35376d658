/** Go's net/net_test.go, file_test.go and kin: what an end of either side does. Each row over TCP and Unix sockets. */
import { expect, test } from "bun:test";
import {
  CancelledError,
  ClosedError,
  SystemError,
  type TcpListener,
  TcpSocket,
  type UnixListener,
  UnixSocket,
} from "../../src/index.ts";
import { BLOCKS, CANCELLED } from "../bodies/conformance-peers.ts";
import { reach } from "../gates.ts";
import { keeper } from "../setup.ts";
import { thrown } from "../thread.ts";
import { start } from "../victim.ts";
import { connected, kinds, listenOver, mainThread, type Stream } from "./connections.ts";
import { type Form, failure, forms, timedOut } from "./forms.ts";

const keep = keeper();
const limits = { timeout: 30_000 };

async function readsText(form: Form, socket: Stream): Promise<string> {
  const into = new Uint8Array(64);
  return Buffer.from(into.subarray(0, await form.read(socket, into, limits))).toString();
}

for (const form of forms) {
  for (const kind of kinds) {
    const row = (name: string, body: () => Promise<void>) => test(`${name}, over ${kind}, ${form.name}`, body);

    row("net_test TestCloseRead: after closeRead a read is at the end, and writing goes on", async () => {
      const { near, far } = await connected(keep, kind);
      await form.write(far, "in time");
      expect(await readsText(form, near)).toBe("in time");
      const pending = form.name === "promises" ? [near.read(new Uint8Array(8)), near.read(new Uint8Array(8))] : [];
      near.closeRead();
      for (const count of await Promise.all(pending)) expect(count).toBe(0);
      for (let i = 0; i < 3; i++) expect(await form.read(near, new Uint8Array(8), limits)).toBe(0);
      await form.write(near, "still heard");
      expect(await readsText(form, far)).toBe("still heard");
    });

    row("net_test TestCloseWrite: the peer comes to the end, and its answer comes back", async () => {
      const { near, far } = await connected(keep, kind);
      await form.write(near, "question");
      near.closeWrite();
      expect(await readsText(form, far)).toBe("question");
      for (let i = 0; i < 3; i++) expect(await form.read(far, new Uint8Array(1), limits)).toBe(0);
      await form.write(far, "answer");
      far.closeWrite();
      expect(await readsText(form, near)).toBe("answer");
      expect(await form.read(near, new Uint8Array(1), limits)).toBe(0);
      const error = await failure(form.write(near, "more"));
      expect(error).toBeInstanceOf(ClosedError);
      expect(error.bytesWritten).toBe(0);
    });

    row(
      "net_test TestConnClose: after close every operation is a ClosedError, and a second close is none",
      async () => {
        const { near } = await connected(keep, kind);
        near.close();
        near.close();
        const all = [
          form.read(near, new Uint8Array(1)),
          form.read(near, new Uint8Array(0)),
          form.write(near, "x"),
          form.write(near, ""),
          form.writev(near, [new Uint8Array(1)]),
        ];
        for (const error of await Promise.all(all.map(failure))) {
          expect(error).toBeInstanceOf(ClosedError);
          expect(error).toMatchObject({ name: "ClosedError", code: "ERR_SOCKET_CLOSED" });
        }
        for (const method of [
          () => near.setDeadline(1),
          () => near.setReadDeadline(1),
          () => near.setWriteDeadline(null),
          () => near.tryRead(new Uint8Array(1)),
          () => near.tryWrite(new Uint8Array(1)),
          () => near.closeRead(),
          () => near.closeWrite(),
          () => near.detach(),
          () => near.getOption(1, 2),
        ]) {
          expect(thrown(method)).toBeInstanceOf(ClosedError);
        }
        expect(near.fd).toBe(-1);
      },
    );

    row("net_test TestZeroByteRead: a read into no room is 0 at once, and is no end, on either side", async () => {
      const { near, far } = await connected(keep, kind);
      for (const socket of [near, far]) expect(await form.read(socket, new Uint8Array(0))).toBe(0);
      await form.write(far, "x");
      for (const socket of [near, far]) expect(await form.read(socket, new Uint8Array(0))).toBe(0);
      expect(await readsText(form, near)).toBe("x");
    });

    row(
      "net_test TestNotTemporaryRead (24808): a reset is an error of its own, neither an end nor a timeout",
      async () => {
        const { near, far } = await connected(keep, kind);
        await form.write(near, "unread"); // what makes a close of a Unix socket a reset
        far.resetAndDestroy();
        const error = await failure(form.read(near, new Uint8Array(1), limits));
        expect(error).toBeInstanceOf(SystemError);
        expect(error).toMatchObject({ code: "ECONNRESET" });
        expect(error.timeout).toBeUndefined();
      },
    );

    row("net_test TestCloseUnblocksRead (17695): the peer's close ends a read that waits, with the end", async () => {
      const { near, far } = await connected(keep, kind);
      if (form.name === "promises") {
        const reading = near.read(new Uint8Array(1));
        await Bun.sleep(5);
        far.close();
        expect(await reading).toBe(0);
        return;
      }
      // A Worker closes once this thread is blocked.
      const socket = far.detach();
      const job = { kind: far instanceof TcpSocket ? "TcpSocket" : "UnixSocket", socket, tid: mainThread };
      const { flags } = await start(keep, "conformance-peers", "closeWhenBlocked", job);
      reach(flags, BLOCKS);
      expect(near.readSync(new Uint8Array(1), limits)).toBe(0);
      expect(Atomics.load(flags, CANCELLED)).toBe(1);
    });

    // File() of Go duplicates a descriptor, for whoever takes the copy. Here a descriptor has one owner, and moves.
    row("file_test TestFileConn: what was detached works on, whatever becomes of the object that it was", async () => {
      const { near, far } = await connected(keep, kind);
      const { fd } = near;
      near.setReadDeadline(0);
      const handle = near.detach();
      near.close();
      const type: typeof TcpSocket | typeof UnixSocket = near instanceof UnixSocket ? UnixSocket : TcpSocket;
      const moved: Stream = keep(type.from(handle));
      expect([moved.fd, near.fd, near.closed]).toEqual([fd, -1, true]);
      await timedOut(form.read(moved, new Uint8Array(1))); // its deadline has come along
      moved.setReadDeadline(null);
      await form.write(far, "hello");
      expect(await readsText(form, moved)).toBe("hello");
      expect(await failure(form.read(near, new Uint8Array(1)))).toBeInstanceOf(ClosedError);
      expect(thrown(() => type.from(handle))).toBeInstanceOf(ClosedError);
    });

    row(
      "file_test TestFileCloseRace (24483): of a detach and a close the first one wins, and nothing is closed twice",
      async () => {
        for (let i = 0; i < 20; i++) {
          const { near, far } = await connected(keep, kind === "a handed-over socket" ? "TCP" : kind);
          const type: typeof TcpSocket | typeof UnixSocket = near instanceof UnixSocket ? UnixSocket : TcpSocket;
          if (i % 2 === 0) {
            near.close();
            expect(thrown(() => near.detach())).toBeInstanceOf(ClosedError);
            expect(await form.read(far, new Uint8Array(1), limits)).toBe(0);
          } else {
            const handle = near.detach();
            near.close();
            near.resetAndDestroy();
            using moved: Stream = type.from(handle);
            await form.write(moved, "alive");
            expect(await readsText(form, far)).toBe("alive");
          }
          far.close();
        }
      },
    );
  }
}

for (const form of forms) {
  for (const kind of ["TCP", "Unix sockets"] as const) {
    const row = (name: string, body: () => Promise<void>) => test(`${name}, over ${kind}, ${form.name}`, body);
    const accept = (listener: TcpListener | UnixListener): Promise<Stream> =>
      form.name === "promises" ? listener.accept(limits) : (async () => listener.acceptSync(limits))();

    row("net_test TestListenerClose: after close there is no accept, and no client gets through", async () => {
      const { listener, dial } = listenOver(keep, kind);
      listener.close();
      listener.close();
      expect(await failure(accept(listener))).toBeInstanceOf(ClosedError);
      expect(thrown(() => listener.tryAccept())).toBeInstanceOf(ClosedError);
      expect(thrown(() => listener.setDeadline(1))).toBeInstanceOf(ClosedError);
      expect((await failure(dial(form))).code).toBe(kind === "TCP" ? "ECONNREFUSED" : "ENOENT");
    });

    row("net_test TestListenCloseListen: the same address can be listened at again right after the close", async () => {
      let { listener, dial, again } = listenOver(keep, kind);
      for (let i = 0; i < 10; i++) {
        keep(await dial(form));
        const server = await accept(listener);
        listener.close();
        server.close(); // this side first: a connection in TIME_WAIT is left behind
        listener = keep(again());
      }
      keep(await dial(form));
      keep(await accept(listener));
    });

    row("net_test TestClosingListener (21856): also while an accept waits, which the close ends", async () => {
      const { listener, again } = listenOver(keep, kind);
      if (form.name === "promises") {
        const waiting = failure(listener.accept());
        await Bun.sleep(5);
        listener.close();
        keep(again());
        expect(await waiting).toBeInstanceOf(ClosedError);
        return;
      }
      // A blocked thread's accept is ended by a cancel; then its close is at once.
      const cancel = keep(listener.cancelSource);
      const job = { cancel: cancel.handle, tid: mainThread, times: 1 };
      const { flags } = await start(keep, "conformance-peers", "cancelWhenBlocked", job);
      reach(flags, BLOCKS);
      expect(thrown(() => listener.acceptSync())).toBeInstanceOf(CancelledError);
      listener.close();
      keep(again());
    });

    row(
      "file_test TestFileListener: a copy of a listener accepts when the one that it was made from is closed",
      async () => {
        const { listener, dial, copy } = listenOver(keep, kind);
        const other = keep(copy());
        listener.close();
        keep(await dial(form));
        keep(await accept(other));
        other.close();
        expect(await failure(dial(form))).toBeInstanceOf(SystemError);
      },
    );
  }
}
