/** Rule 9: a graceful stop resets no client that got through the handshake, and lets none hang. The clients count. */
import { expect } from "bun:test";
import { join } from "node:path";
import { CancelSource, listen, type Server, serve, type TcpSocket, type UnixSocket } from "../../src/index.ts";
import { ANSWERED } from "../bodies/stopping.ts";
import { keeper, temporaryDirectory } from "../setup.ts";
import { Thread, until } from "../thread.ts";
import { needs, Program } from "../tool.ts";
import { hostname, LIMIT, readText } from "./clients.ts";

const keep = keeper();
const STOPS = 50;
const CLIENTS = 16;
/** Seconds after which a client whose SYN was dropped begins anew, instead of the second that the kernel takes. */
const PATIENCE = 0.1;
const NONE = { reset: 0, hung: 0, unanswered: 0 };

interface Counts {
  answered: number;
  reset: number;
  hung: number;
  unanswered: number;
}

async function clientsAt(place: number | string): Promise<Program> {
  const clients = keep(Program.python("impatient.py", [place, CLIENTS, PATIENCE]));
  expect(await clients.line()).toBe("up");
  return clients;
}

async function countsOf(clients: Program): Promise<Counts> {
  clients.kill("SIGTERM");
  return JSON.parse(await clients.line()) as Counts;
}

/** Starts a server, lets it get busy, and shuts it down; how many requests it has answered. */
async function serveForAWhile(
  start: (handler: (socket: TcpSocket | UnixSocket) => Promise<void>) => Server,
): Promise<number> {
  let answered = 0;
  const server = keep(
    start(async (socket) => {
      // A client that has given up before it was accepted has sent nothing.
      if ((await readText(socket).catch(() => "")) !== "?") return;
      await socket.write("ok");
      answered++;
    }),
  );
  await until("the server to be busy", () => answered >= CLIENTS * 2);
  expect((await server.shutdown({ grace: LIMIT })).forced).toBe(0);
  return answered;
}

needs("python3")(
  `${STOPS} shutdowns under ${CLIENTS} clients that connect without a pause: no reset, nobody hangs, nobody goes without an answer`,
  async () => {
    let listener = listen({ hostname });
    const { port } = listener.address;
    const clients = await clientsAt(port);
    let served = 0;
    for (let stop = 0; stop < STOPS; stop++) {
      if (stop > 0) listener = listen({ hostname, port });
      served += await serveForAWhile((handler) => serve(listener, handler));
    }
    const counts = await countsOf(clients);
    expect(counts).toMatchObject({ answered: served, ...NONE });
  },
);

needs("python3")(`${STOPS} shutdowns of a Unix listener under ${CLIENTS} such clients`, async () => {
  const path = join(keep(temporaryDirectory()).path, "socket");
  let listener = listen({ path });
  const clients = await clientsAt(path);
  let served = 0;
  for (let stop = 0; stop < STOPS; stop++) {
    if (stop > 0) listener = listen({ path });
    served += await serveForAWhile((handler) => serve(listener, handler));
  }
  const counts = await countsOf(clients);
  expect(counts).toMatchObject({ answered: served, ...NONE });
});

needs("python3")(`10 stops of three threads that block in accept, under ${CLIENTS} such clients`, async () => {
  const first = listen({ hostname });
  const { port } = first.address;
  const clients = await clientsAt(port);
  let served = 0;
  for (let stop = 0; stop < 10; stop++) {
    const listener = stop === 0 ? first : listen({ hostname, port });
    const cancel = keep(new CancelSource());
    const job = { listener: listener.handle, cancel: cancel.handle };
    const threads = await Promise.all([1, 2, 3].map(() => Thread.start("stopping", "acceptUntilStopped", job)));
    await until("each thread to be busy", () => threads.every(({ flags }) => Atomics.load(flags, ANSWERED) >= 5));
    listener.close(); // it has never accepted
    cancel.cancel();
    for (const thread of threads) {
      const end = await thread.next<{ answered: number; closed: boolean }>();
      expect(end.closed).toBe(true);
      served += end.answered;
      await thread.join();
    }
  }
  expect(await countsOf(clients)).toMatchObject({ answered: served, ...NONE });
});
