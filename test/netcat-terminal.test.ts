/** client.ts as a netcat whose standard streams are a real terminal. */
import { expect } from "bun:test";
import { connectSync, listen } from "../src/index.ts";
import { client, connecting, drain, needs, portOf } from "./netcat.ts";
import { blackHole, keeper, refusedPort } from "./setup.ts";
import { Terminal } from "./terminal.ts";
import { until } from "./thread.ts";
import { Program } from "./tool.ts";

const keep = keeper();
const inTerminal = needs("tmux", "socat");

/** Answers each line of a client, and says goodbye at its end. */
async function answering(): Promise<string> {
  const script = 'while read -r line; do echo "the server got: $line"; done; echo "goodbye"';
  return portOf(keep(Program.start(["socat", "-dd", "-t30", "TCP-LISTEN:0,bind=127.0.0.1", `SYSTEM:${script}`])));
}

inTerminal("a line that is typed goes out, the answer is on the screen, and Ctrl-C is status 130", async () => {
  const terminal = keep(Terminal.running([...client(), "127.0.0.1", await answering()]));
  for (const line of ["hello", "grüß dich"]) {
    terminal.type(line);
    await terminal.shows(`the server got: ${line}`);
  }
  terminal.press("C-c");
  await terminal.shows(/status 130$/);
  expect(terminal.screen).toContain("hello\nthe server got: hello\ngrüß dich\nthe server got: grüß dich\n");
});

inTerminal("Ctrl-D ends what is typed, the last answer still comes, and the status is 0", async () => {
  const terminal = keep(Terminal.running([...client(), "127.0.0.1", await answering()]));
  terminal.type("hello");
  await terminal.shows("the server got: hello");
  terminal.press("C-d");
  await terminal.shows("status 0");
  expect(terminal.screen).toBe("hello\nthe server got: hello\ngoodbye\nstatus 0");
});

inTerminal("a server that ends ends it, without a key", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const terminal = keep(Terminal.running([...client(), "127.0.0.1", String(listener.address.port)]));
  const peer = keep(listener.acceptSync({ timeout: 10_000 }));
  peer.writeSync("hello and goodbye\n");
  peer.close();
  await terminal.shows("status 0");
  expect(terminal.screen).toBe("hello and goodbye\nstatus 0");
});

inTerminal("Ctrl-C while it connects is status 130", async () => {
  const { port } = blackHole(keep);
  const terminal = keep(Terminal.running([...client(), "127.0.0.1", String(port)]));
  await until("the netcat to connect", () => connecting(port));
  terminal.press("C-c");
  await terminal.shows(/status 130$/);
});

inTerminal("Ctrl-C while it listens is status 130, and so it is when a client is there", async () => {
  const waiting = keep(Terminal.running([...client(), "--verbose", "--listen", "127.0.0.1", "0"]));
  await waiting.shows(/^listening on 127\.0\.0\.1 port \d+$/);
  waiting.press("C-c");
  await waiting.shows(/status 130$/);
  const port = refusedPort();
  const terminal = keep(Terminal.running([...client(), "--verbose", "--listen", "127.0.0.1", String(port)]));
  await terminal.shows(`listening on 127.0.0.1 port ${port}`);
  const peer = keep(connectSync({ hostname: "127.0.0.1", port }));
  peer.writeSync("here I am\n");
  await terminal.shows("here I am");
  terminal.press("C-c");
  await terminal.shows(/status 130$/);
  expect(drain(peer)).toEqual({ bytes: 0, end: "end" });
});

needs(
  "tmux",
  "socat",
  "bash",
)("Ctrl-Z stops it, fg goes on with it", async () => {
  const [bun, , script, ...form] = client();
  const shell = ["env", "PS1=$ ", "HISTFILE=", `BUN=${bun}`, `SCRIPT=${script}`, "bash", "--norc", "--noprofile", "-i"];
  const terminal = keep(new Terminal(shell));
  const command = ["$BUN run $SCRIPT", ...form, "--verbose 127.0.0.1", await answering()].join(" ");
  terminal.type(command);
  await terminal.shows(/^connected to/);
  for (const line of ["one", "two", "three"]) {
    terminal.type(line);
    await terminal.shows(`the server got: ${line}`);
    terminal.press("C-z");
    await terminal.shows(/Stopped/);
    terminal.press("C-l");
    await until("a clear screen", () => !terminal.screen.includes("Stopped"));
    terminal.type("fg");
    await terminal.shows(command); // bash says so once the terminal takes whole lines again, for the job
  }
  terminal.press("C-c");
  await terminal.shows(/interrupted$/);
  terminal.type('echo "status $?"');
  await terminal.shows("status 130");
});

inTerminal("a terminal that is closed ends it, and the server sees an end", async () => {
  const listener = keep(listen({ hostname: "127.0.0.1" }));
  const terminal = keep(Terminal.running([...client(), "127.0.0.1", String(listener.address.port)]));
  const peer = keep(listener.acceptSync({ timeout: 10_000 }));
  peer.writeSync("hello\n");
  await terminal.shows("hello");
  terminal.close();
  expect(drain(peer)).toEqual({ bytes: 0, end: "end" });
});
