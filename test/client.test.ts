/** client.ts as a user runs it, without a terminal. */
import { expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { listen } from "../src/index.ts";
import type { Transfer } from "./bodies/transfer.ts";
import { keeper, refusedPort } from "./setup.ts";
import { Thread, until, waits } from "./thread.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const script = fileURLToPath(new URL("../client.ts", import.meta.url));

function client(args: (string | number)[], stdin: Uint8Array | "pipe" | "ignore" = "ignore"): Program {
  return keep(Program.start([process.execPath, "run", script, ...args.map(String)], { stdin }));
}

/** The two forms: what makes them, and what they say at their end. */
const forms = [
  { options: [], cancelled: "the read was blocked in the kernel; cancelled in", goodbye: "every thread has ended" },
  { options: ["--async"], cancelled: "the read was pending; cancelled in", goodbye: "every operation has ended" },
];

const said = (form: (typeof forms)[number]) => [
  expect.stringMatching(new RegExp(`^${form.cancelled} \\d+ µs$`)),
  form.goodbye,
  "",
];
const named = (name: string, { options }: (typeof forms)[number]) => [name, ...options].join(", ");

for (const form of forms) {
  for (const stdin of ["ignore", "pipe", Buffer.from("not a key\n")] as const) {
    const what = typeof stdin === "string" ? { ignore: "no", pipe: "an open" }[stdin] : "a piped";
    const name = `the demonstration with ${what} standard input: two messages, and a cancel in the third wait`;
    test(named(name, form), async () => {
      // On a busy machine the middle of a short wait may come late, and a third message earlier.
      const interval = stdin === "ignore" ? 1 : 0.2;
      const program = client(["--interval", interval, ...form.options], stdin);
      expect(await program.exited()).toBe(0);
      expect(program.errors).toBe("");
      const lines = program.output.split("\n");
      if (interval < 1 && lines[2] === "hello world") lines.shift();
      expect(lines).toEqual(["hello world", "hello world", ...said(form)]);
      expect(Number(/in (\d+) µs/.exec(lines[2]!)![1])).toBeLessThan(5_000_000);
    });
  }

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(named(`${signal} cancels the read of the demonstration, and the status is 0`, form), async () => {
      const program = client(["--interval", 1, ...form.options], "pipe");
      expect(await program.line()).toBe("hello world");
      program.kill(signal);
      expect(await program.exited()).toBe(0);
      expect(program.output.split("\n")).toEqual(["hello world", ...said(form)]);
      expect(program.errors).toBe("");
    });
  }
}

for (const args of [
  ["--interval", "0"],
  ["--interval", "-1"],
  ["--interval", "soon"],
  ["--interval", ""],
  ["--interval"],
  ["--nonsense"],
  ["localhost"],
  ["localhost", "80", "81"],
  ["localhost", "65536"],
  ["localhost", "-1"],
  ["localhost", "http"],
  ["", "80"],
]) {
  test(`bad usage is status 2, and says how: ${JSON.stringify(args)}`, async () => {
    const program = client(args);
    expect(await program.exited()).toBe(2);
    expect(program.output).toBe("");
    expect(program.errors).toContain("usage: bun run client.ts");
  });
}

test("--help says how on standard output, and the status is 0", async () => {
  const program = client(["--help"]);
  expect(await program.exited()).toBe(0);
  expect(program.output).toContain("usage: bun run client.ts");
  expect(program.errors).toBe("");
});

for (const form of forms) {
  const { options } = form;

  needs("python3")(named("HOST PORT of a Python server: what it says goes to standard output", form), async () => {
    const server = keep(Program.python("server.py"));
    const program = client([...options, "127.0.0.1", await server.line()], Buffer.from("hello wörld\n"));
    expect(await program.done()).toBe("hello wörld\n");
    expect(program.errors).toBe("");
  });

  needs("python3")(named("HOST PORT of a Python server: 20 MB arrive as they were sent", form), async () => {
    const server = keep(Program.python("server.py"));
    const program = client([...options, "localhost", await server.line()], Buffer.from("send 20000000\n"));
    await program.done();
    expect(program.bytes.byteLength).toBe(20_000_000);
    expect(createHash("sha256").update(program.bytes).digest("hex")).toBe(await server.line());
  });

  test(named("standard input goes to the server, and its end half-closes: the answer still comes", form), async () => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const data = randomBytes(20_000_000);
    const thread = await Thread.start("transfer", "transfer", { listener: listener.handle, send: "the answer\n" });
    const program = client([...options, "127.0.0.1", listener.address.port], data);
    expect(await program.done()).toBe("the answer\n");
    expect((await thread.next<Transfer>()).received).toBe(createHash("sha256").update(data).digest("hex"));
    await thread.join();
  });

  test(named("a refused connection is status 1, and says who refused", form), async () => {
    const port = refusedPort();
    const program = client([...options, "127.0.0.1", port]);
    expect(await program.exited()).toBe(1);
    expect(program.output).toBe("");
    expect(program.errors).toContain(`ECONNREFUSED 127.0.0.1:${port}`);
  });

  /** A client that has received a message, and the server's end of its connection. */
  const conversation = async (): Promise<Program> => {
    const listener = keep(listen({ hostname: "127.0.0.1" }));
    const program = client([...options, "127.0.0.1", listener.address.port], "pipe");
    keep(listener.acceptSync({ timeout: 20_000 })).writeSync("one line\n");
    expect(await program.line()).toBe("one line");
    return program;
  };

  test(named("SIGINT while it waits for the server is status 130", form), async () => {
    const program = await conversation();
    const tasks = `/proc/${program.pid}/task`;
    // The thread that blocks is in poll or ppoll (x64 and arm64); with promises the main thread is back in Bun's own wait.
    const waiting = options.length === 0 ? new Set(["7", "271", "73"]) : waits[process.arch]!;
    const threads = () => (options.length === 0 ? readdirSync(tasks) : [String(program.pid)]);
    const syscalls = () => threads().map((task) => readFileSync(`${tasks}/${task}/syscall`, "latin1").split(" ")[0]!);
    await until("it to wait in the kernel", () => syscalls().some((call) => waiting.has(call)));
    program.kill("SIGINT");
    expect(await program.exited()).toBe(130);
  });

  test(named("SIGINT at any moment is status 130: also just before it goes to sleep again", form), async () => {
    for (let i = 0; i < 10; i++) {
      const program = await conversation();
      program.kill("SIGINT"); // its message is out, and it may not be waiting again
      expect(await program.exited()).toBe(130);
    }
  });
}
