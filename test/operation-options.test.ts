/** Options of an operation that are none: an error that says what was meant, and not a wait for ever. */
import { expect, test } from "bun:test";
import { CancelSource, type OperationOptions } from "../src/index.ts";
import { systemCalls } from "./faults.ts";
import { keeper, pair } from "./setup.ts";
import { thrown } from "./thread.ts";

const keep = keeper();
const wrong: [what: string, options: unknown, message: RegExp][] = [
  ["a misspelt key", { timout: 50 }, /no option "timout"; did you mean "timeout"/],
  ["a key from elsewhere", { deadline: 50 }, /no option "deadline"; did you mean "timeout"/],
  ["an AbortSignal", AbortSignal.timeout(60_000), /pass an AbortSignal as \{ signal \}/],
  ["a CancelSource", new CancelSource(), /pass a CancelSource or a CancelToken as \{ cancel \}/],
  ["a CancelToken", new CancelSource().token, /pass a CancelSource or a CancelToken as \{ cancel \}/],
];

for (const [what, value, message] of wrong) {
  test(`${what} in the place of options is a TypeError that says so, before any system call`, async () => {
    const { client, server, listener } = pair(keep);
    const options = value as OperationOptions;
    const into = new Uint8Array(1);
    const promises: Promise<unknown>[] = [];
    const calls = systemCalls(() => {
      for (const blocking of [
        () => client.readSync(into, options as object),
        () => client.writeSync("x", options as object),
        () => listener.acceptSync(options as object),
      ]) {
        const error = thrown(blocking);
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toMatch(message);
      }
      promises.push(client.read(into, options), client.write("x", options), client.writev([into], options));
      promises.push(listener.accept(options));
    });
    expect(calls).toEqual([]);
    for (const promise of promises) await expect(promise).rejects.toThrow(message);
    client.writeSync("all is well");
    expect(server.readSync(new Uint8Array(32), { timeout: 20_000 })).toBe("all is well".length);
  });
}

test("a key whose value is undefined is still misspelt, and one that is known may be undefined", () => {
  const { client } = pair(keep);
  expect(client.readSync(new Uint8Array(0), { cancel: undefined, timeout: undefined, interruptible: undefined })).toBe(
    0,
  );
  expect(thrown(() => client.readSync(new Uint8Array(0), { timout: undefined } as object)).message).toMatch(/timout/);
});
