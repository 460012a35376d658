/** A real terminal, which tmux provides: keys are pressed, and the screen is read. */
import { temporaryDirectory } from "./setup.ts";
import { until } from "./thread.ts";

/** Runs `argv` in a terminal of its own, in a tmux server of its own; both end when it is disposed. */
export class Terminal implements Disposable {
  /** For the socket of the server, which it leaves behind when it ends. */
  readonly #directory = temporaryDirectory();

  constructor(argv: string[]) {
    this.#tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", ...argv);
  }

  /** A terminal that says the command's status as its last line. Ctrl-C is for the command, not for the shell around it. */
  static running(argv: string[]): Terminal {
    return new Terminal(["sh", "-c", 'trap : INT; "$@"; echo "status $?"; exec sleep 600', "sh", ...argv]);
  }

  get screen(): string {
    return this.#tmux("capture-pane", "-p").trimEnd();
  }

  /** Keys by tmux's names for them: `"C-c"`, `"Enter"`. */
  press(...keys: string[]): void {
    this.#tmux("send-keys", ...keys);
  }

  /** Types a line. */
  type(line: string): void {
    this.#tmux("send-keys", "-l", line);
    this.press("Enter");
  }

  /** Waits until a line of the screen is this text, or matches it. (The terminal shows Ctrl-C too, where it stands: ^C.) */
  async shows(line: string | RegExp): Promise<void> {
    const found = (one: string) => (typeof line === "string" ? one === line : line.test(one));
    let { screen } = this;
    try {
      await until("", () => (screen = this.screen).split("\n").some(found));
    } catch {
      throw new Error(`waited ten seconds for the line ${line} on this screen:\n${screen}`);
    }
  }

  #tmux(...args: string[]): string {
    const { exitCode, stdout, stderr } = this.#run("-u", ...args);
    if (exitCode !== 0) throw new Error(`tmux ${args.join(" ")}: ${stderr.toString()}`);
    return stdout.toString();
  }

  /** Closes the window: whatever runs in it is hung up. Idempotent. */
  close(): void {
    this.#run("kill-server");
  }

  #run(...args: string[]): Bun.SyncSubprocess<"pipe", "pipe"> {
    return Bun.spawnSync(["tmux", "-S", `${this.#directory.path}/tmux`, ...args]);
  }

  [Symbol.dispose](): void {
    this.close();
    this.#directory[Symbol.dispose]();
  }
}
