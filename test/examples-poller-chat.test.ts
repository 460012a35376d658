/** examples/poller-chat.ts between real peers: who hears what, who is dropped, and how it ends. */
import { expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { open } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { SO_RCVBUF, SOL_SOCKET } from "../ffi/index.ts";
import { connectSync, type TcpSocket } from "../src/index.ts";
import { drain } from "./netcat.ts";
import { keeper, temporaryDirectory } from "./setup.ts";
import { needs, Program } from "./tool.ts";

const keep = keeper();
const hostname = "127.0.0.1";
const LONGEST = 4096;
const example = fileURLToPath(new URL("../examples/poller-chat.ts", import.meta.url));
const start = (args: (string | number)[]) =>
  keep(Program.start([process.execPath, "run", example, ...args.map(String)]));

async function chat(): Promise<{ server: Program; port: number }> {
  const server = start(["--port", 0]);
  return { server, port: Number(/^listening on (\d+)$/.exec(await server.line())![1]) };
}

/** Someone at a plain socket. */
class Guest {
  readonly socket: TcpSocket;
  #text = "";

  constructor(port: number) {
    this.socket = keep(connectSync({ hostname, port }));
  }

  /** Who has said that name, and has read of it. */
  static async named(port: number, name: string): Promise<Guest> {
    const guest = new Guest(port);
    guest.say(name);
    await guest.hears("name?", `* ${name} is here`);
    return guest;
  }

  say(line: string): void {
    this.socket.writeSync(`${line}\n`, { timeout: 20_000 });
  }

  /** The next line, or null at the end. */
  async line(): Promise<string | null> {
    const buffer = new Uint8Array(1 << 16);
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end !== -1) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return line;
      }
      const count = await this.socket.read(buffer, { timeout: 20_000 });
      if (count === 0) return null;
      this.#text += Buffer.from(buffer.subarray(0, count)).toString("latin1");
    }
  }

  async hears(...lines: (string | null)[]): Promise<void> {
    for (const line of lines) {
      const heard = await this.line();
      expect(heard === null ? null : Buffer.from(heard, "latin1").toString()).toBe(line);
    }
  }
}

/** One with little room for what it does not read. */
async function deafGuest(port: number, name: string): Promise<Guest> {
  const guest = await Guest.named(port, name);
  guest.socket.setOption(SOL_SOCKET, SO_RCVBUF, 4096);
  return guest;
}

/** Ends the chat, and expects these figures. */
async function ends(server: Program, people: number, lines: number, signal: NodeJS.Signals = "SIGINT"): Promise<void> {
  server.kill(signal);
  expect(await server.exited()).toBe(0);
  expect(server.errors).toBe("");
  expect(server.output).toEndWith(`\nserved ${people} people and ${lines} lines\n`);
}

needs("nc")("two people chat with nc: each sees the other come, speak and go", async () => {
  const { server, port } = await chat();
  const nc = (name: string) => {
    const said = name === "bob" ? "bob\nhello, I am bob\n" : "ann\nhällö 😀\n";
    return keep(Program.start(["nc", "-N", hostname, String(port)], { stdin: Buffer.from(said) }));
  };
  const listener = await Guest.named(port, "eve");
  const ann = nc("ann");
  await listener.hears("* ann is here", "ann: hällö 😀", "* ann has left");
  expect(await ann.done()).toBe("name?\n* ann is here\n");
  const bob = nc("bob");
  await listener.hears("* bob is here", "bob: hello, I am bob", "* bob has left");
  expect(await bob.done()).toBe("name?\n* bob is here\n");
  await ends(server, 3, 2);
  await listener.hears("* the server is closing", null);
});

test("lines of the operator arrive at everyone with a name; the end of standard input ends nothing else", async () => {
  // A shell between the operator and the chat: what it is sent, once somebody is there, it passes on.
  const file = `${keep(temporaryDirectory()).path}/input`;
  execFileSync("mkfifo", [file]);
  const server = keep(
    Program.start(["sh", "-c", `exec "$0" run "$1" --port 0 <"$2"`, process.execPath, example, file]),
  );
  const operator = await open(file, "w");
  const port = Number(/^listening on (\d+)$/.exec(await server.line())![1]);
  const ann = await Guest.named(port, "ann");
  const bob = await Guest.named(port, "bob");
  await ann.hears("* bob is here");
  await operator.write("good evening\nhow are y");
  for (const guest of [ann, bob]) await guest.hears("* server: good evening");
  await operator.write("ou?\n");
  for (const guest of [ann, bob]) await guest.hears("* server: how are you?");
  await operator.close();
  bob.say("fine");
  await ann.hears("bob: fine");
  await ends(server, 2, 1);
});

test("pieces, several lines in one write, UTF-8 in two halves, CRLF and control characters", async () => {
  const { server, port } = await chat();
  const ann = await Guest.named(port, "ann");
  const bob = await Guest.named(port, "bob");
  await ann.hears("* bob is here");
  for (const byte of Buffer.from("h\u{e4}\u{1f600}")) {
    bob.socket.writeSync(Uint8Array.of(byte));
    // When he hears this for the second time, what he sent has been read.
    for (let round = 0; round < 2; round++) {
      ann.say("between");
      await bob.hears("ann: between");
    }
  }
  bob.say("");
  await ann.hears("bob: h\u{e4}\u{1f600}");
  bob.socket.writeSync("one\r\n\n  \ntwo\u{1b}[2J\nthree");
  await ann.hears("bob: one", "bob: two[2J");
  bob.socket.writeSync(" and more\n");
  await ann.hears("bob: three and more");
  bob.say("x".repeat(LONGEST));
  await ann.hears(`bob: ${"x".repeat(LONGEST)}`);
  await ends(server, 2, 5 + 14, "SIGTERM");
});

test("names are asked for until there is a proper one that is free", async () => {
  const { server, port } = await chat();
  const ann = await Guest.named(port, "ann");
  const other = new Guest(port);
  for (const name of ["", "* server", "x".repeat(21)]) other.say(name);
  const no = ["* up to 20 letters and digits", "name?"];
  await other.hears("name?", ...no, ...no, ...no);
  other.say("ann");
  await other.hears("* that name is taken", "name?");
  ann.socket.closeWrite();
  await ann.hears(null);
  other.say("ann");
  await other.hears("* ann is here");
  await ends(server, 2, 0);
});

for (const ended of [true, false]) {
  test(`a line that is too long${ended ? "" : ", and never ends,"} costs the connection, with a word and without a reset`, async () => {
    const { server, port } = await chat();
    const ann = await Guest.named(port, "ann");
    const bob = await Guest.named(port, "bob");
    await ann.hears("* bob is here");
    bob.socket.writeSync(`before it\n${"x".repeat(LONGEST + 1)}${ended ? "\nafter it\n" : ""}`);
    await bob.hears("* that line is too long", null);
    await ann.hears("bob: before it", "* bob has left");
    bob.say("what is said now is thrown away");
    bob.socket.close();
    await ends(server, 2, 1);
    await ann.hears("* the server is closing", null);
  });
}

test("who vanishes with a reset has left, named or not", async () => {
  const { server, port } = await chat();
  const ann = await Guest.named(port, "ann");
  for (let round = 0; round < 20; round++) {
    const bob = await Guest.named(port, `bob${round}`);
    const nobody = new Guest(port);
    nobody.socket.resetAndDestroy();
    if (round % 2 === 0) ann.say("something on its way to him");
    bob.socket.resetAndDestroy();
    await ann.hears(`* bob${round} is here`, `* bob${round} has left`);
  }
  await ends(server, 21, 10);
});

test("who does not read is dropped, and delays nobody; who reads late, but in time, gets it all", async () => {
  const { server, port } = await chat();
  const ann = await Guest.named(port, "ann");
  const bob = await Guest.named(port, "bob");
  await ann.hears("* bob is here");
  const slow = await deafGuest(port, "slow");
  for (const guest of [ann, bob]) await guest.hears("* slow is here");
  const text = (i: number) => `${i} `.padEnd(LONGEST, "x");
  let said = 0;
  // One at a time, so that those who read are never behind.
  for (let heard: string | null = ""; heard !== "* slow has left"; said++) {
    bob.say(text(said));
    heard = await ann.line();
    if (heard === `bob: ${text(said)}`) continue;
    expect(heard).toBe("* slow has left");
    await ann.hears(`bob: ${text(said)}`);
  }
  await bob.hears("* slow has left");
  expect(said * LONGEST).toBeGreaterThan(1 << 20);
  expect(drain(slow.socket).end).toBe("reset");

  // Now half of the limit less, so that some of it waits for room.
  const late = await deafGuest(port, "late");
  for (const guest of [ann, bob]) await guest.hears("* late is here");
  const count = said - (1 << 19) / LONGEST;
  for (let i = 0; i < count; i++) {
    bob.say(text(i));
    await ann.hears(`bob: ${text(i)}`);
  }
  late.socket.setOption(SOL_SOCKET, SO_RCVBUF, 1 << 20);
  for (let i = 0; i < count; i++) await late.hears(`bob: ${text(i)}`);
  bob.say("are you there?");
  for (const guest of [ann, late]) await guest.hears("bob: are you there?");
  await ends(server, 4, said + count + 1);
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  needs("nc")(`${signal}: a goodbye to each, named or not, then an orderly end`, async () => {
    const { server, port } = await chat();
    const guests = [await Guest.named(port, "ann"), await Guest.named(port, "bob")];
    await guests[0]!.hears("* bob is here");
    // It has nothing more to say, and stays until the server ends.
    const nc = keep(Program.start(["nc", hostname, String(port)], { stdin: Buffer.from("nick\n") }));
    for (const guest of guests) await guest.hears("* nick is here");
    guests[0]!.say("one");
    await guests[1]!.hears("ann: one");
    const nameless = new Guest(port);
    const ended = ends(server, 3, 1, signal);
    ended.catch(() => {}); // it is awaited below
    for (const guest of guests) {
      await guest.hears("* the server is closing", null);
      guest.say("bytes that nobody reads make no reset");
      guest.socket.closeWrite();
    }
    await nameless.hears("name?", "* the server is closing", null);
    nameless.socket.close();
    expect(await nc.done()).toBe("name?\n* nick is here\nann: one\n* the server is closing\n");
    await ended;
  });
}

test("a port that is taken is status 1, and the message names it", async () => {
  const { port } = await chat();
  const second = start(["--port", port]);
  expect(await second.exited()).toBe(1);
  expect(second.errors).toContain(`EADDRINUSE ${hostname}:${port}`);
});

test("--help is status 0", async () => {
  const help = start(["--help"]);
  expect(await help.exited()).toBe(0);
  expect(help.output).toStartWith("usage: bun run poller-chat.ts [--port PORT]\n");
});

for (const args of [["7000"], ["--port", "x"], ["--port", "65536"], ["--port="], ["--port=-1"], ["--hello"]]) {
  test(`bad usage is status 2: ${JSON.stringify(args)}`, async () => {
    const server = start(args);
    expect(await server.exited()).toBe(2);
    expect(server.output).toBe("");
    expect(server.errors).toContain("usage: bun run poller-chat.ts [--port PORT]\n");
  });
}
