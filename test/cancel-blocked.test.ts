import { afterEach, expect, test } from "bun:test";
import { CancelSource, listen, type TcpSocket } from "../src/index.ts";
import type { Outcome } from "./bodies/blocked.ts";
import { Thread } from "./thread.ts";

const cleanup: Disposable[] = [];
afterEach(() => {
  for (const resource of cleanup.splice(0).reverse()) resource[Symbol.dispose]();
});
function keep<T extends Disposable>(resource: T): T {
  cleanup.push(resource);
  return resource;
}

/** A listener whose backlog is full, so that a further connect stays in progress for ever. */
async function blackHole(): Promise<number> {
  const listener = keep(listen({ hostname: "127.0.0.1", backlog: 0 }));
  const { connectSync } = await import("../src/index.ts");
  keep(connectSync({ hostname: "127.0.0.1", port: listener.address.port }));
  return listener.address.port;
}

for (const operation of ["read", "write", "accept", "connect"] as const) {
  test(`a ${operation} that is blocked in the kernel is cancelled from another thread, and says why`, async () => {
    const source = keep(new CancelSource());
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const port = operation === "connect" ? await blackHole() : listener.address.port;
    const thread = await Thread.start("blocked", operation, { cancel: source.handle, port, listener: listener.handle });
    const peer: TcpSocket | null =
      operation === "read" || operation === "write" ? keep(listener.acceptSync({ timeout: 5000 })) : null;
    await thread.blocked();
    expect(source.cancel("enough")).toBe(true);
    const outcome = await thread.next<Outcome>();
    expect(outcome).toMatchObject({ name: "AbortError", code: "ABORT_ERR", cause: "enough" });
    if (operation === "write") {
      const buffer = new Uint8Array(1 << 20);
      let received = 0;
      await thread.join();
      for (let count: number; (count = peer!.readSync(buffer, { timeout: 5000 })) > 0; ) received += count;
      expect(received).toBe(outcome.bytesWritten!);
    }
    await thread.join();
  });
}
