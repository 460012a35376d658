import { expect, test } from "bun:test";
import { SystemError } from "../src/index.ts";
import { keeper, pair, readText } from "./setup.ts";
import { thrown } from "./thread.ts";
import { Program } from "./tool.ts";

const keep = keeper();
const buffer = new Uint8Array(100);

test("resetAndDestroy gives the peer ECONNRESET, not an end", () => {
  const { client, server } = pair(keep);
  client.resetAndDestroy();
  const error = thrown<SystemError>(() => server.readSync(buffer, { timeout: 5000 }));
  expect(error).toBeInstanceOf(SystemError);
  expect(error).toMatchObject({ code: "ECONNRESET", syscall: "recv" });
  expect(error.errno).toBeLessThan(0);
  expect(client.closed).toBe(true);
  expect(client.fd).toBe(-1);
});

test("resetAndDestroy twice, and after close, does nothing", () => {
  const { client, server } = pair(keep);
  client.close();
  client.resetAndDestroy();
  client.resetAndDestroy();
  expect(server.readSync(buffer)).toBe(0);
});

test("data before a reset is read first, then comes ECONNRESET, and from then on the end", () => {
  const { client, server } = pair(keep);
  client.writeSync("the last of it");
  client.resetAndDestroy();
  expect(readText(server)).toBe("the last of it");
  expect(thrown(() => server.readSync(buffer, { timeout: 5000 })).code).toBe("ECONNRESET");
  for (let i = 0; i < 3; i++) expect(server.readSync(buffer, { timeout: 5000 })).toBe(0);
});

test("writing to a peer that has reset fails with ECONNRESET or EPIPE, and says how far it got", () => {
  const { client, server } = pair(keep);
  server.resetAndDestroy();
  let error: (Error & { code?: string; bytesWritten?: number }) | undefined;
  for (let end = Date.now() + 5000; error === undefined && Date.now() < end; ) {
    try {
      client.writeSync(new Uint8Array(1000)); // the first ones may be faster than the reset
    } catch (caught) {
      error = caught as Error;
    }
  }
  expect(error).toBeInstanceOf(SystemError);
  expect(error!.code).toBeOneOf(["ECONNRESET", "EPIPE"]);
  expect(error!.bytesWritten).toBe(0);
  for (const write of [
    () => client.writeSync(buffer),
    () => client.writevSync([buffer, buffer]),
    () => client.tryWrite(buffer),
  ]) {
    expect(thrown(write)).toMatchObject({ name: "SystemError", code: "EPIPE" });
  }
});

// Bun ignores SIGPIPE, so the children set it back to its default action.
for (const how of ["writeSync", "writevSync", "tryWrite"]) {
  test(`${how} to a peer that has reset raises no SIGPIPE`, async () => {
    const child = keep(Program.script("write-to-a-reset-peer.ts", [how]));
    expect(await child.exited()).toBe(0);
    expect(child.output).toBe("EPIPE\n");
  });
}

test("in such a child a write(2) does raise it, so the tests above mean something", async () => {
  const child = keep(Program.script("write-to-a-reset-peer.ts", ["write(2)"]));
  expect(await child.exited()).toBe("SIGPIPE");
});
