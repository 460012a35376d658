/** The system calls that a program makes, as strace(1) saw them. */
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "./setup.ts";
import { Program, peer } from "./tool.ts";

export interface SystemCall {
  thread: string;
  name: string;
  /** The whole call, with its result: `close(5) = 0`. */
  text: string;
  /** The first argument, if that is a number. */
  fd: number;
  result: number;
}

/** Runs a Bun script of test/peers/ under `strace -f`, and returns its calls that touch descriptors, in order of their beginning. */
export async function trace(script: string, args: (string | number)[], meanwhile: () => void): Promise<SystemCall[]> {
  using directory = temporaryDirectory();
  const file = join(directory.path, "trace");
  const strace = ["strace", "-f", "-o", file, "-e", "trace=%desc,%network", "-e", "signal=none"];
  await using program = Program.start([...strace, process.execPath, peer(script), ...args.map(String)], {
    env: { CANCELFD_BACKEND: "epoll" },
  });
  meanwhile();
  await program.done();
  return parse(readFileSync(file, "latin1"));
}

function parse(text: string): SystemCall[] {
  const calls: SystemCall[] = [];
  const unfinished = new Map<string, SystemCall>();
  for (const line of text.split("\n")) {
    const resumed = /^(\d+) +<\.\.\. (\w+) resumed>(.*)$/.exec(line);
    if (resumed !== null) {
      const call = unfinished.get(resumed[1]!);
      if (call !== undefined) finish(call, call.text + resumed[3]!);
      continue;
    }
    const begun = /^(\d+) +((\w+)\((-?\d+)?.*)$/.exec(line);
    if (begun === null) continue; // an exit, or a signal
    const [, thread, whole, name, fd] = begun as unknown as [string, string, string, string, string | undefined];
    const call: SystemCall = { thread, name, text: "", fd: fd === undefined ? -1 : Number(fd), result: Number.NaN };
    calls.push(call);
    const cut = whole.indexOf(" <unfinished ...>");
    if (cut === -1) finish(call, whole);
    else {
      call.text = whole.slice(0, cut);
      unfinished.set(thread, call);
    }
  }
  return calls;
}

function finish(call: SystemCall, text: string): void {
  call.text = text.replace(/\s+= /, " = ");
  call.result = Number(/ = (-?\d+)/.exec(call.text)?.[1]);
}

/** Expects the calls to match these patterns one after the other, with anything between them. */
export function expectInOrder(calls: SystemCall[], patterns: RegExp[]): void {
  let from = 0;
  for (const pattern of patterns) {
    const found = calls.findIndex((call, index) => index >= from && pattern.test(call.text));
    if (found === -1) {
      const seen = calls.map((call, index) => `${index < from ? "  " : "> "}${call.text}`).join("\n");
      expect(`after the calls without a mark, none matches ${pattern}:\n${seen}`).toBe("");
    }
    from = found + 1;
  }
}
