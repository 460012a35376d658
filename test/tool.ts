/** Programs of this machine that tests talk to: whether they are there, and how to run one. */
import { test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fdTable } from "./thread.ts";

type Skippable = (name: string, body: () => unknown, timeout?: number) => void;

/**
 * `test`, for what needs these programs. If one is missing it says so loudly and skips, and under CI=true it fails: a
 * machine that is there for testing has to have them (.ci/run installs them).
 */
export function needs(...programs: string[]): Skippable {
  const missing = programs.filter((program) => Bun.which(program) === null);
  if (missing.length === 0 || process.env.CI !== "true") {
    return unless(missing.length === 0 ? null : `${missing.join(" and ")} missing; .ci/run installs what is needed`);
  }
  return (name) =>
    test(name, () => {
      throw new Error(`${missing.join(" and ")} missing`);
    });
}

/** `test`, unless there is a reason why this machine cannot run it, which no installation helps: then loudly skipped. */
export function unless(reason: string | null): Skippable {
  if (reason === null) return (name, body, timeout) => test(name, body as () => void, timeout);
  return (name) => {
    console.warn(`\nSKIPPED: ${name}\n  because: ${reason}\n`);
    test.skip(name, () => {});
  };
}

/** The path of a program in test/peers/. */
export function peer(name: string): string {
  return fileURLToPath(new URL(`./peers/${name}`, import.meta.url));
}

/** What each thread of a process is doing: its name, its state, and where in the kernel it waits. */
function threadsOf(pid: number): string {
  const directory = `/proc/${pid}/task`;
  try {
    return readdirSync(directory)
      .map((task) => {
        const [name, state, call] = ["comm", "stat", "syscall"].map((file) =>
          readFileSync(`${directory}/${task}/${file}`, "latin1").trim(),
        );
        return `${task} ${name}: ${/\) (.)/.exec(state!)![1]}, system call ${call}`;
      })
      .join("\n");
  } catch (error) {
    return `no longer to be seen: ${(error as Error).message}`;
  }
}

interface Options {
  env?: Record<string, string | undefined>;
  cwd?: string;
  stdin?: Uint8Array | "pipe" | "ignore";
}

/** A program that runs beside the test. Killed when it is disposed, if it has not ended by itself. */
export class Program implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe" | "ignore", "pipe", "pipe">;
  readonly #read: Promise<unknown>;
  readonly #name: string;
  readonly #chunks: Uint8Array[] = [];
  /** What Bun opened to talk to it. */
  readonly #descriptors: [fd: string, what: string][];
  #errors = "";
  #lines = 0;

  private constructor(argv: string[], { env = {}, cwd, stdin = "ignore" }: Options) {
    const before = fdTable();
    this.#name = argv.join(" ").slice(0, 200);
    this.#process = Bun.spawn(argv, {
      env: { ...process.env, ...env },
      ...(cwd !== undefined && { cwd }),
      // Not the bytes themselves: Bun would keep them in a file of its own that is closed when it is collected.
      stdin: stdin === "ignore" ? "ignore" : "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#descriptors = Object.entries(fdTable()).filter(([fd, what]) => before[fd] !== what);
    if (stdin instanceof Uint8Array) {
      this.#process.stdin!.write(stdin);
      void this.#process.stdin!.end();
    }
    this.#read = Promise.all([this.#readOutput(), this.#readErrors()]);
  }

  static start(argv: string[], options: Options = {}): Program {
    return new Program(argv, options);
  }

  /** Runs a Bun script of test/peers/. */
  static script(name: string, args: (string | number)[] = [], options: Options = {}): Program {
    return new Program([process.execPath, peer(name), ...args.map(String)], options);
  }

  /** Runs a Python script of test/peers/, unbuffered. */
  static python(name: string, args: (string | number)[] = [], options: Options = {}): Program {
    return new Program(["python3", "-u", peer(name), ...args.map(String)], options);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** All that it has written to its standard output. */
  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get output(): string {
    return this.bytes.toString();
  }

  get errors(): string {
    return this.#errors;
  }

  /** The next whole line of its output. */
  async line(): Promise<string> {
    const end = Date.now() + 20_000;
    for (;;) {
      const lines = this.output.split("\n");
      if (lines.length > this.#lines + 1) return lines[this.#lines++]!;
      if (this.#process.exitCode !== null) {
        await this.#read;
        if (this.output.split("\n").length <= this.#lines + 1) throw new Error(this.#describe("ended without a line"));
      } else if (Date.now() > end) throw new Error(this.#describe("wrote no line for 20 seconds"));
      await Bun.sleep(1);
    }
  }

  /** Waits for its end: its status, or the name of the signal that killed it (SIGKILL: by us, if it takes too long). */
  async exited(limit = 30_000): Promise<number | NodeJS.Signals> {
    const timer = setTimeout(() => {
      console.error(`${this.#describe(`did not end within ${limit} ms`)}\n${threadsOf(this.pid)}`);
      this.#process.kill("SIGKILL");
    }, limit);
    await this.#process.exited;
    clearTimeout(timer);
    await this.#released();
    return this.#process.signalCode ?? this.#process.exitCode!;
  }

  /** Waits for its end, and throws what it said if that was not status 0. Returns its output. */
  async done(): Promise<string> {
    if ((await this.exited()) !== 0) throw new Error(this.#describe("failed"));
    return this.output;
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill("SIGKILL");
    await this.#process.exited;
    await this.#released(); // so that nothing of it is open in the next test
  }

  /**
   * Everything is read, and Bun has closed its side, which it does in a thread of its own some time after the end: a
   * test that compares descriptor tables would find it missing, or find its number taken.
   */
  async #released(): Promise<void> {
    await this.#process.stdin?.end();
    await this.#read;
    const end = Date.now() + 2000;
    for (let table = fdTable(); this.#descriptors.some(([fd, what]) => table[fd] === what); table = fdTable()) {
      if (Date.now() > end) return; // of another thread, perhaps
      await Bun.sleep(1);
    }
  }

  async #readOutput(): Promise<void> {
    for await (const chunk of this.#process.stdout) this.#chunks.push(chunk);
  }

  async #readErrors(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#process.stderr) this.#errors += decoder.decode(chunk, { stream: true });
  }

  #describe(what: string): string {
    const { exitCode, signalCode } = this.#process;
    return `${what} (status ${exitCode ?? signalCode}): ${this.#name}\n${this.output.slice(-2000)}\n${this.#errors.slice(-4000)}`;
  }
}
