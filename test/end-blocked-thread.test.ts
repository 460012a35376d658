import { expect, test } from "bun:test";
import { Program } from "./tool.ts";

/** Far above what any of these takes (some 5 ms), and below any timeout that would end the wait by itself. */
const AT_ONCE = 5000;

for (const operation of ["read", "write", "accept", "connect"]) {
  test(`terminate ends a Worker that is blocked in ${operation} at once, and then the process ends by itself`, async () => {
    await using program = Program.script("end-blocked-thread.ts", [operation, "terminate"]);
    expect(await program.line()).toBe("blocked");
    const blocked = performance.now();
    expect(Number(/\d+/.exec(await program.line())![0])).toBeLessThan(AT_ONCE);
    expect(await program.exited()).toBe(0);
    expect(performance.now() - blocked).toBeLessThan(AT_ONCE);
  });

  test(`process.exit ends the process at once while a Worker is blocked in ${operation}`, async () => {
    await using program = Program.script("end-blocked-thread.ts", [operation, "exit"]);
    expect(await program.line()).toBe("blocked");
    const blocked = performance.now();
    expect(await program.exited()).toBe(7);
    expect(performance.now() - blocked).toBeLessThan(AT_ONCE);
  });

  test(`a Worker that is blocked in ${operation} and unrefed keeps no process alive`, async () => {
    await using program = Program.script("end-blocked-thread.ts", [operation, "unref"]);
    expect(await program.line()).toBe("blocked");
    const blocked = performance.now();
    expect(await program.exited()).toBe(0);
    expect(performance.now() - blocked).toBeLessThan(AT_ONCE);
  });
}
