/**
 * A chat server: `bun run poller-chat.ts [--port PORT]`, and then `nc 127.0.0.1 7000` from any number of terminals. Your
 * first line is your name; the others see every line after it. In your own program, import "cancelfd".
 *
 * One thread, a Worker, waits for everything in one blocking wait: new clients, what clients say, room for what they are
 * told, and the lines of the operator. The main thread reads those from standard input and sends them through a queue.
 * At Ctrl-C or SIGTERM it cancels that wait: the chat says goodbye and ends, status 0. A second one ends it at once.
 */
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type * as cancelfd from "../src/index.ts";
import { CancelledError, CancelSource, listen, Poller, SystemError, WakeQueue } from "../src/index.ts";

const usage = "usage: bun run poller-chat.ts [--port PORT]\n  --port PORT  7000 unless given; 0: any free one";
const NEVER = Number.POSITIVE_INFINITY;
const MOST_PEOPLE = 200;
/** In bytes. */
const LONGEST_LINE = 4096;
/** Whoever has more bytes still to be told does not read, and is dropped. */
const MOST_UNSENT = 1 << 20;
/** How long a client may take to end its side once it was told to go, in milliseconds. */
const GRACE = 2000;

interface Job {
  port: number;
  stop: cancelfd.CancelHandle;
  announcements: cancelfd.QueueHandle;
}

/** A line as others may see it: without control characters, which could play tricks with their terminals. */
const clean = (line: string) => line.replace(/\p{Cc}/gu, "").trim();
const buffer = new Uint8Array(1 << 14);

/** A connection: the line that has not all come yet, and what has not all gone yet. */
class Person {
  readonly socket: cancelfd.TcpSocket;
  /** "" before it has told it, and once it has left. */
  name = "";
  /** The connection is being ended, and is given up then. */
  until = NEVER;
  /** The peer has ended its side. */
  ended = false;
  /** The kernel had no room the last time: the poller says when it has. */
  full = false;
  unsentBytes = 0;
  #unsent: Uint8Array[] = [];
  #line = Buffer.alloc(0);

  constructor(socket: cancelfd.TcpSocket) {
    this.socket = socket;
  }

  /**
   * Reads once, and returns the lines that are complete, and one that is too long already. What is left in the socket
   * makes it ready in the next wait again, when the others have had their turn.
   */
  read(): Buffer[] {
    const count = this.socket.tryRead(buffer);
    this.ended = count === 0;
    if (count === null || this.until !== NEVER) return []; // whoever is to go is read for its end only
    const lines: Buffer[] = [];
    // Bytes, not text: of a character that comes in two reads neither half can be decoded.
    let bytes = Buffer.concat([this.#line, buffer.subarray(0, count)]);
    for (let end: number; (end = bytes.indexOf("\n")) !== -1; bytes = bytes.subarray(end + 1)) {
      lines.push(bytes.subarray(0, end));
    }
    if (bytes.length > LONGEST_LINE) lines.push(bytes);
    this.#line = bytes;
    return lines;
  }

  /** Sends nothing yet: `flush` does. */
  tell(line: Uint8Array): void {
    this.#unsent.push(line);
    this.unsentBytes += line.length;
  }

  /** Sends what the kernel takes. */
  flush(): void {
    if (this.full || this.unsentBytes === 0) return;
    const bytes = Buffer.concat(this.#unsent);
    const rest = bytes.subarray(this.socket.tryWrite(bytes) ?? 0);
    this.#unsent = [rest];
    this.unsentBytes = rest.length;
    this.full = rest.length > 0;
  }
}

/** The thread that blocks. */
function chat(job: Job): void {
  using stop = CancelSource.from(job.stop);
  using announcements = WakeQueue.from<string>(job.announcements);
  using listener = listen({ hostname: "127.0.0.1", port: job.port });
  using poller = new Poller();
  const people = new Map<cancelfd.Pollable, Person>();
  /** Who has been told something, or has been heard, since `lookAfter`. */
  const touched = new Set<Person>();
  const served = { people: 0, lines: 0 };

  function tell(person: Person, line: string): void {
    person.tell(Buffer.from(`${line}\n`));
    touched.add(person);
  }

  /** All who have said their names. */
  function tellAll(line: string, except?: Person): void {
    for (const person of people.values()) if (person.name !== "" && person !== except) tell(person, line);
  }

  function leave(person: Person): void {
    const { name } = person;
    person.name = "";
    if (name !== "") tellAll(`* ${name} has left`);
  }

  /** Nothing more is heard from it, and what it was told still arrives. */
  function end(person: Person, farewell?: string): void {
    if (person.until === NEVER) {
      if (farewell !== undefined) tell(person, farewell); // after `closeWrite` it could not be
      person.until = performance.now() + GRACE;
    }
    leave(person);
  }

  /** Whoever has not been told everything sees a reset. */
  function drop(person: Person): void {
    if (person.unsentBytes > 0) person.socket.resetAndDestroy();
    else person.socket.close(); // and it is out of the poller
    people.delete(person.socket);
    touched.delete(person);
    leave(person);
  }

  /** One client's trouble (a reset, say) is the end of that client only. */
  function attempt(person: Person, action: (person: Person) => void): void {
    try {
      action(person);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      drop(person);
    }
  }

  /** Sends, and awaits what there is to await now. */
  function update(person: Person): void {
    const { socket, ended } = person;
    person.flush();
    const toldAll = person.unsentBytes === 0;
    if (person.unsentBytes > MOST_UNSENT || (ended && toldAll)) drop(person);
    else {
      if (person.until !== NEVER && toldAll) socket.closeWrite();
      // Nearly always there is room, and an end stays readable for ever: to await those without need is not to sleep.
      poller.modify(socket, { readable: !ended, writable: person.full });
    }
  }

  /** Whoever is dropped is news for others, who join the end of the set. */
  function lookAfter(): void {
    for (const person of touched) {
      touched.delete(person);
      attempt(person, update);
    }
  }

  function welcome(socket: cancelfd.TcpSocket): void {
    const person = new Person(socket);
    people.set(socket, person);
    poller.add(socket, { readable: true });
    tell(person, "name?");
  }

  function hear(person: Person, text: string): void {
    if (person.name === "") {
      const isTaken = [...people.values()].some(({ name }) => name === text);
      if (!/^[\p{L}\p{N}_-]{1,20}$/u.test(text)) tell(person, "* up to 20 letters and digits\nname?");
      else if (isTaken) tell(person, "* that name is taken\nname?");
      else {
        person.name = text;
        served.people++;
        tellAll(`* ${text} is here`);
      }
    } else if (text !== "") {
      served.lines++;
      tellAll(`${person.name}: ${text}`, person);
    }
  }

  function read(person: Person): void {
    for (const line of person.read()) {
      if (line.length <= LONGEST_LINE) hear(person, clean(line.toString()));
      else {
        end(person, "* that line is too long");
        break;
      }
    }
    if (person.ended) end(person);
  }

  function announce(): void {
    for (const line of announcements.receiveAll()) tellAll(`* server: ${clean(line)}`);
  }

  /** One wait, and what comes of it. */
  function serve(cancel?: CancelSource): void {
    const next = Math.min(NEVER, ...[...people.values()].map(({ until }) => until));
    for (const { source, readable, writable } of poller.wait({ cancel, timeout: next - performance.now() })) {
      const person = people.get(source); // unless it was dropped a moment ago, by what came before it here
      const socket = source === listener ? listener.tryAccept() : null;
      if (socket !== null) welcome(socket);
      else if (source === announcements) announce();
      else if (person !== undefined) {
        touched.add(person);
        if (writable) person.full = false;
        if (readable) attempt(person, read);
      }
      lookAfter();
    }
    for (const person of people.values()) if (person.until <= performance.now()) drop(person);
  }

  poller.add(listener, { readable: true });
  poller.add(announcements, { readable: true });
  parentPort!.postMessage(`listening on ${listener.address.port}`);
  try {
    for (;;) {
      poller.modify(listener, { readable: people.size < MOST_PEOPLE }); // the kernel keeps the others waiting
      serve(stop);
    }
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
  }
  announce(); // what the operator said before
  // Who has connected is owed a goodbye, too.
  for (let socket: cancelfd.TcpSocket | null; (socket = listener.tryAccept()) !== null; ) welcome(socket);
  listener.close();
  for (const person of people.values()) person.name = "";
  for (const person of people.values()) end(person, "* the server is closing");
  lookAfter();
  while (people.size > 0) serve();
  parentPort!.postMessage(`served ${served.people} people and ${served.lines} lines`);
}

/** The thread that stays responsive. */
async function main(): Promise<number> {
  const { values } = parseArgs({ options: { port: { type: "string", default: "7000" }, help: { type: "boolean" } } });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const port = /^\d+$/.test(values.port) ? Number(values.port) : Number.NaN;
  if (!(port <= 65_535)) throw new TypeError(`--port takes a number up to 65535, not "${values.port}"`);
  const stop = new CancelSource();
  const announcements = new WakeQueue<string>();
  const job: Job = { port, stop: stop.handle, announcements: announcements.handle };
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.cancel(signal));
  worker.on("message", (line) => console.log(line));
  worker.on("error", (error: Error) => console.error(error.message));
  const status = new Promise<number>((resolve) => worker.once("exit", resolve));
  announce(announcements).catch((error: Error) => console.error(error.message));
  return status;
}

/** The end of standard input ends the announcements only. */
async function announce(queue: WakeQueue<string>): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) await queue.sendAsync(line);
}

if (isMainThread) {
  const status = await main().catch((error: Error) => {
    console.error(`${error.message}\n${usage}`);
    return 2;
  });
  process.exit(status); // standard input would keep it
} else chat(workerData as Job);
