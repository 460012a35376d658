/** Go's net/writev_test.go: several buffers in one write. Here they are not consumed: an error says how far it got. */
import { expect, test } from "bun:test";
import { around } from "../hooks.ts";
import { keeper } from "../setup.ts";
import { connected, kinds } from "./connections.ts";
import { failure, forms, timedOut } from "./forms.ts";

const keep = keeper();
const limits = { timeout: 30_000 };
/** What one sendmsg(2) takes at most. */
const IOV_MAX = 1024;

for (const form of forms) {
  for (const kind of kinds) {
    const row = (name: string, body: () => Promise<void>) =>
      test(`writev_test ${name}, over ${kind}, ${form.name}`, body);

    for (const count of [0, 1, 2, 3, 1023, 1024, 1025, 5000]) {
      row(`TestBuffers_WriteTo: ${count} buffers arrive in order, in no more calls than it takes`, async () => {
        const { near, far } = await connected(keep, kind);
        const chunks = Array.from({ length: count }, (_, i) => Buffer.from(`${i % 10}`.repeat(1 + (i % 3))));
        const want = Buffer.concat(chunks);
        let calls = 0;
        const counting = around(
          ["send", "sendmsg"],
          () => calls++,
          () => {},
        );
        try {
          expect(await form.writev(near, chunks, limits)).toBe(want.length);
        } finally {
          counting[Symbol.dispose]();
        }
        expect(calls).toBeGreaterThanOrEqual(Math.ceil(count / IOV_MAX));
        expect(calls).toBeLessThanOrEqual(Math.ceil(count / IOV_MAX) + 5); // the last one may be short
        near.closeWrite();
        const got: Buffer[] = [];
        const into = new Uint8Array(1 << 16);
        for (let n: number; (n = await form.read(far, into, limits)) > 0; ) got.push(Buffer.from(into.subarray(0, n)));
        expect(Buffer.concat(got).equals(want)).toBe(true);
        expect(chunks.length).toBe(count); // still ours
      });
    }

    row("TestBuffers_consume: what an error says was written is where to go on, wherever that is", async () => {
      const { near, far } = await connected(keep, kind);
      const chunks = Array.from({ length: 3000 }, (_, i) => new Uint8Array(i % 7 === 0 ? 0 : 10_007).fill(i));
      const want = Buffer.concat(chunks);
      let sent = (await timedOut(form.writev(near, chunks, { timeout: 20 }))).bytesWritten!;
      expect(sent).toBeGreaterThan(0);
      expect(sent).toBeLessThan(want.length);
      const got: Buffer[] = [];
      const into = new Uint8Array(1 << 20);
      for (let arrived = 0; arrived < want.length; ) {
        const count = await form.read(far, into, limits);
        got.push(Buffer.from(into.subarray(0, count)));
        arrived += count;
        if (sent > arrived || sent === want.length) continue;
        sent += await form.writev(near, [want.subarray(sent)], { timeout: 5 }).catch((error) => error.bytesWritten);
      }
      expect(Buffer.concat(got).equals(want)).toBe(true);
    });

    row("TestBuffers: empty ones are skipped, at either end and between", async () => {
      const { near, far } = await connected(keep, kind);
      const empty = new Uint8Array(0);
      for (const chunks of [[], [empty], [empty, empty]]) expect(await form.writev(near, chunks)).toBe(0);
      expect(await form.writev(near, [empty, Buffer.from("a"), empty, Buffer.from("b"), empty], limits)).toBe(2);
      const into = new Uint8Array(8);
      expect(await form.read(far, into, limits)).toBe(2);
      expect(Buffer.from(into.subarray(0, 2)).toString()).toBe("ab");
    });

    row("TestWritevError: much more than there is room for, to a peer that goes, ends in an error", async () => {
      const { near, far } = await connected(keep, kind);
      const chunks = Array.from({ length: 64 }, () => new Uint8Array(1 << 20));
      if (form.name === "blocking") far.close();
      const writing = form.writev(near, chunks, limits);
      if (form.name === "promises") far.close();
      const error = await failure(writing);
      expect(["EPIPE", "ECONNRESET"]).toContain(error.code!);
      expect(error.bytesWritten).toBe(near.bytesWritten);
      expect(error.bytesWritten).toBeLessThan(64 << 20);
    });
  }
}
