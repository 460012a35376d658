/** What is dropped without being closed: in child processes, where nothing else is garbage. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { keeper, temporaryDirectory } from "./setup.ts";
import { Program } from "./tool.ts";

const keep = keeper();
const code = "CANCELFD_DROPPED";
const warn = (kind: string, remedy: string) =>
  `${code}: a ${kind} was dropped without ${remedy}; its file descriptor was closed when it was collected`;
const socket = warn("TcpSocket", "close()");
const source = warn("CancelSource", "dispose()");
const queue = warn("WakeQueue", "dispose()");

interface Outcome {
  what: string;
  warnings: string[];
  opened: string[];
  file: boolean;
}

/** Drops these, one after the other, in one process. `expected`: how many warnings to wait for, of each. */
async function drop(whats: string[], expected: number): Promise<Outcome[]> {
  const directory = keep(temporaryDirectory());
  const scenarios = whats.map((what) => `${what}=${expected}`);
  const child = keep(Program.script("dropped.ts", [join(directory.path, "socket"), ...scenarios]));
  const outcomes: Outcome[] = [];
  while (outcomes.length < whats.length) outcomes.push(JSON.parse(await child.line()) as Outcome);
  expect(await child.exited()).toBe(0);
  return outcomes;
}

test("what is dropped open is closed when it is collected, and each object says so once, and what should have been called", async () => {
  const expected: Record<string, string> = {
    "a socket": socket,
    "a socket with a source that has a handle": socket,
    "an accepted socket": socket,
    "a socket that was taken": socket,
    "a Unix socket": warn("UnixSocket", "close()"),
    "a listener": warn("TcpListener", "close()"),
    "a Unix listener": warn("UnixListener", "close()"), // and its file is gone
    "a queue": queue,
    "a queue that was taken": queue,
    "a poller": warn("Poller", "close()"),
    "a source": source,
    "a source that was taken": source,
    "a source with a handle whose timeout passes": source,
    "a source with a handle whose signal fires": source,
  };
  const whats = Object.keys(expected);
  expect(await drop(whats, 1)).toEqual(
    whats.map((what) => ({ what, warnings: [expected[what]!], opened: [], file: false })),
  );
});

test("a child and its parent that are dropped had a doorbell each: both are closed, and it is said, once or twice", async () => {
  const [outcome] = await drop(["a child"], 1);
  expect(outcome!.opened).toEqual([]);
  expect([[source], [source, source]]).toContainEqual(outcome!.warnings);
});

test("a poller that is dropped with a queue in it lets go of it: both are closed, and each says so", async () => {
  const [outcome] = await drop(["a poller with a queue in it"], 2);
  expect({ ...outcome, warnings: outcome!.warnings.sort() }).toEqual({
    what: "a poller with a queue in it",
    warnings: [warn("Poller", "close()"), queue],
    opened: [],
    file: false,
  });
});

test("what had no descriptor, or was closed, is dropped without a word", async () => {
  const whats = [
    "a source that never had a handle",
    "a source with a timeout, without a handle",
    "what was closed",
    "a queue that nobody could wait for any more",
    "a queue that was closed",
  ];
  expect(await drop(whats, 0)).toEqual(whats.map((what) => ({ what, warnings: [], opened: [], file: false })));
});

test("what others rely on by its handle alone is not collected: a listener, and a source that something else can end", async () => {
  const pipes = process.env.CANCELFD_BACKEND === "poll";
  const doorbell = pipes ? [] : ["anon_inode"];
  const drained = pipes ? ["pipe", "pipe"] : ["anon_inode"];
  const expected: Record<string, string[]> = {
    "a listener with a handle": ["socket"],
    "a queue with a handle": drained,
    "a poller with a handle": pipes ? drained : [...drained, "anon_inode"],
    "a source with a handle and a timeout": doorbell,
    "a source with a handle and a timeout above it": [...doorbell, ...doorbell],
    "a source with a handle and a signal above it": [...doorbell, ...doorbell],
  };
  const whats = Object.keys(expected);
  expect(await drop(whats, 0)).toEqual(
    whats.map((what) => ({ what, warnings: [], opened: expected[what]!, file: false })),
  );
});

test("a source is kept by a signal that may abort, and by no other, nor by one of an object that was disposed", async () => {
  // Only what is said: with the signal the promise side begins, which has descriptors of its own.
  const said = async (whats: string[], expected: number) =>
    (await drop(whats, expected)).map(({ what, warnings }) => [what, ...warnings]);
  expect(await said(["a source whose signal was handed out"], 0)).toEqual([["a source whose signal was handed out"]]);
  const whats = [
    "a source whose signal has aborted",
    "a source whose signal was handed out aborted",
    "a source whose signal was handed out by another object, which was disposed",
  ];
  expect(await said(whats, 1)).toEqual(whats.map((what) => [what, source]));
});

for (const how of ["ends at once", "collects first"]) {
  test(`a script that leaves everything open and ${how} stays quiet`, async () => {
    await using program = Program.script("ends-at-once.ts", [how]);
    expect(await program.done()).toBe("the end\n");
    expect(program.errors).toBe("");
  });
}
