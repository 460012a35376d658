/** client.ts in a real terminal, which tmux provides: keys are pressed, and the screen is read. */
import { expect } from "bun:test";
import { fileURLToPath } from "node:url";
import { keeper } from "./setup.ts";
import { until } from "./thread.ts";
import { needs } from "./tool.ts";

const keep = keeper();
const inTerminal = needs("tmux", "stty");
const script = fileURLToPath(new URL("../client.ts", import.meta.url));

/** A terminal of its own, in a tmux server of its own, that runs client.ts and then says its status. */
class Terminal implements Disposable {
  readonly #name = `cancelfd-test-${process.pid}-${Math.random().toString(36).slice(2)}`;
  readonly #device: string;

  constructor(...args: string[]) {
    const run = ["sh", "-c", '"$@"; echo "status $?"; exec sleep 600', "sh", process.execPath, "run", script, ...args];
    this.#tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", ...run);
    this.#device = this.#tmux("display-message", "-p", "#{pane_tty}").trim();
  }

  #tmux(...args: string[]): string {
    const { exitCode, stdout, stderr } = Bun.spawnSync(["tmux", "-u", "-L", this.#name, ...args]);
    if (exitCode !== 0) throw new Error(`tmux ${args.join(" ")}: ${stderr.toString()}`);
    return stdout.toString();
  }

  get screen(): string {
    return this.#tmux("capture-pane", "-p").trimEnd();
  }

  press(key: string): void {
    this.#tmux("send-keys", key);
  }

  /** True in cooked mode: lines are edited, keys are shown, Ctrl-C is a signal. */
  get cooked(): boolean {
    const settings = Bun.spawnSync(["stty", "-a", "-F", this.#device]).stdout.toString();
    return ["icanon", "echo", "isig", "opost"].every((name) => new RegExp(`(?<!-)\\b${name}\\b`).test(settings));
  }

  /** The process that runs client.ts. */
  get pid(): number {
    const shell = this.#tmux("display-message", "-p", "#{pane_pid}").trim();
    return Number(Bun.spawnSync(["ps", "-o", "pid=", "--ppid", shell]).stdout.toString());
  }

  [Symbol.dispose](): void {
    this.#tmux("kill-server");
  }
}

async function started(...args: string[]): Promise<Terminal> {
  const terminal = keep(new Terminal(...args));
  await until("a message on the screen", () => terminal.screen.includes("hello world"));
  expect(terminal.screen).toStartWith("press any key to quit\nhello world");
  expect(terminal.cooked).toBe(false);
  return terminal;
}

async function ended(terminal: Terminal): Promise<string[]> {
  await until("the status on the screen", () => /^status \d+$/m.test(terminal.screen));
  expect(terminal.cooked).toBe(true);
  return terminal.screen.split("\n").filter((line) => line !== "hello world");
}

for (const [form, cancelled, goodbye] of [
  [[], "the read was blocked in the kernel; cancelled in", "every thread has ended"],
  [["--async"], "the read was pending; cancelled in", "every operation has ended"],
] as const) {
  const named = (name: string) => [name, ...form].join(", ");
  const all = [
    "press any key to quit",
    expect.stringMatching(new RegExp(`^${cancelled} \\d+ µs$`)),
    goodbye,
    "status 0",
  ];

  for (const [what, key] of [
    ["a letter", "x"],
    ["the space bar", "Space"],
    ["Enter", "Enter"],
    ["an arrow", "Up"],
    ["Ctrl-C", "C-c"],
    ["Ctrl-D", "C-d"],
  ] as const) {
    inTerminal(named(`${what} cancels the read, ends everything, and leaves the terminal as it was`), async () => {
      const terminal = await started(...form, "--interval", "0.2");
      terminal.press(key);
      expect(await ended(terminal)).toEqual(all);
    });
  }

  inTerminal(named("without a key it goes on: no third wait is cut short"), async () => {
    const terminal = await started(...form, "--interval", "0.05");
    const messages = () => terminal.screen.split("\n").filter((line) => line === "hello world").length;
    await until("ten messages", () => messages() >= 10);
    terminal.press("q");
    expect(await ended(terminal)).toEqual(all);
  });

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    inTerminal(named(`${signal} from outside does the same`), async () => {
      const terminal = await started(...form, "--interval", "0.2");
      process.kill(terminal.pid, signal);
      expect(await ended(terminal)).toEqual(all);
    });
  }
}
