/** No descriptor of ours reaches a program that this process starts. */
import { dlopen } from "bun:ffi";
import { expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cString } from "../ffi/memory.ts";
import { platform } from "../ffi/platform/index.ts";
import { CancelSource } from "../src/index.ts";
import { blackHole, keeper, pair, temporaryDirectory } from "./setup.ts";
import { fdTable, Thread, thrown } from "./thread.ts";

const keep = keeper();

/** One of everything that this library opens, in use; and which files they are. */
async function openEverything(): Promise<string[]> {
  const before = new Set(Object.keys(fdTable()));
  const { client, server, listener } = pair(keep);
  const cancel = keep(new CancelSource());
  void keep(cancel.child()).handle;
  void server.cancelSource.handle;
  void listener.handle;
  for (const wait of [
    () => client.readSync(new Uint8Array(1), { cancel, timeout: 1 }),
    () => server.readSync(new Uint8Array(1), { cancel, timeout: 1 }),
    () => listener.acceptSync({ cancel, timeout: 1 }),
  ]) {
    expect(thrown(wait).name).toBe("TimeoutError");
  }
  const { port } = blackHole(keep);
  const thread = await Thread.start("blocked", "connect", { cancel: cancel.handle, port }); // a connect under way
  keep({
    [Symbol.asyncDispose]: async () => {
      cancel.cancel();
      await thread.join();
    },
  });
  await thread.blocked();
  const opened = Object.entries(fdTable()).filter(([fd]) => !before.has(fd));
  expect(opened.length).toBeGreaterThanOrEqual(7);
  return opened.map(([, file]) => file).filter((file) => file.startsWith("socket:") || file.startsWith("pipe:"));
}

/** What `ls -l /proc/self/fd` printed shows none of these sockets and pipes, and no epoll set or eventfd at all. */
function expectNone(listing: string, ours: string[]): void {
  expect(listing).toContain("/proc/"); // the directory that ls itself has open: so it is a listing
  for (const file of ours) expect(listing).not.toContain(file);
  expect(listing).not.toContain("[eventpoll]");
  expect(listing).not.toContain("[eventfd]");
}

const list = ["ls", "-l", "/proc/self/fd"] as const;

test("Bun.spawn", async () => {
  const ours = await openEverything();
  const child = Bun.spawn([...list], { stdin: "ignore", stdout: "pipe" });
  expectNone(await child.stdout.text(), ours);
  await child.exited;
});

test("Bun.spawnSync", async () => {
  const ours = await openEverything();
  expectNone(Bun.spawnSync([...list], { stdin: "ignore" }).stdout.toString(), ours);
});

test("node:child_process", async () => {
  const ours = await openEverything();
  expectNone(execFileSync(list[0], list.slice(1), { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }), ours);
});

test("system(3), as a native library would: it closes nothing between fork and exec", async () => {
  const ours = await openEverything();
  const directory = keep(temporaryDirectory());
  const file = join(directory.path, "listing");
  const { system } = dlopen(platform.libc, { system: { args: ["ptr"], returns: "i32" } }).symbols;
  expect(system(cString(`${list.join(" ")} > ${file} < /dev/null`))).toBe(0);
  expectNone(readFileSync(file, "utf8"), ours);
});
