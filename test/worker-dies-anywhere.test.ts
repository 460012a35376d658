/** Holds survive a thread that is terminated between any two stores: each deed, stopped before each access it makes. */
import { expect, test } from "bun:test";
import { close } from "../ffi/index.ts";
import { CancelSource, ClosedError, connectSync, listen, TcpListener, TcpSocket } from "../src/index.ts";
import { BEGIN, type Deed, DONE, deeds, HELD, PREPARED, type StepJob } from "./bodies/dying.ts";
import { reach } from "./gates.ts";
import { changesSince, IF_LIKELY, NONE, quietTable } from "./leaks.ts";
import { keeper } from "./setup.ts";
import { until } from "./thread.ts";
import { Victim } from "./victim.ts";

const keep = keeper();
const hostname = "127.0.0.1";
const pipes = process.env.CANCELFD_BACKEND === "poll";
/** A doorbell that the kernel has just made is nobody's until its third access has recorded it. */
const UNRECORDED: Partial<Record<Deed, number>> = pipes ? {} : { "shares a source": 3 };

/** What this thread has of everything, and a socket that is adrift with its source. */
function everything() {
  const source = keep(new CancelSource());
  const listener = keep(listen({ hostname }));
  const client = keep(connectSync({ hostname, port: listener.address.port }));
  const accepted = listener.acceptSync({ timeout: 5000 });
  const own = accepted.cancelSource.handle;
  const socket = accepted.detach();
  const handles = { source: source.handle, listener: listener.handle, socket, port: listener.address.port };
  return { source, listener, client, own, handles };
}

/** Whether the thread was stopped before it was done, and what is wrong after its end. */
async function dieAt(deed: Deed, step: number): Promise<{ held: boolean; wrong: string[] }> {
  const { source, listener, client, own, handles } = everything();
  const { socket, port } = handles;
  if (deed === "resets a source") source.cancel("to be reset");
  const victim = new Victim("node", "dying", "stepAndStop", { deed, step, ...handles } satisfies StepJob);
  await until("it to be ready", () => Atomics.load(victim.flags, PREPARED) === 1);
  const far = deed.endsWith("s a socket") && deed !== "takes a socket" ? keep(listener.acceptSync()) : undefined;
  if (deed.endsWith("as its last holder")) (deed.includes("listener") ? listener : source)[Symbol.dispose]();
  reach(victim.flags, BEGIN);
  await until("it to be held up", () => Atomics.load(victim.flags, HELD) === 1);
  const held = Atomics.load(victim.flags, DONE) === 0;
  await victim.terminate();

  const wrong: string[] = [];
  const expects = (what: string, holds: () => unknown) => {
    try {
      if (holds() !== true) wrong.push(`before access ${step}: not so: ${what}`);
    } catch (error) {
      wrong.push(`before access ${step}: not so: ${what}, but ${error}`);
    }
  };
  const last = deed.endsWith("as its last holder") ? deed : "";
  if (last.includes("source")) {
    expects("the source is gone", () => isGone(() => CancelSource.from(handles.source)));
  } else {
    source.reset();
    expects("the source cancels", () => source.cancel("by one that lives") && source.cancelled);
  }
  if (last.includes("listener")) {
    expects("the listener is gone", () => isGone(() => TcpListener.from(handles.listener)));
    expects("its port is free", () => listen({ hostname, port }).close() === undefined);
  } else {
    using _late = connectSync({ hostname, port });
    expects("the listener works", () => listener.acceptSync({ timeout: 5000 }).close() === undefined);
  }
  if (far !== undefined) expects("its peer sees an end", () => ends(far));
  // It may not have come to take the socket that is adrift.
  if (deed !== "takes a socket") TcpSocket.from(socket).close();
  else if (!isGone(() => TcpSocket.from(socket)) && !held) wrong.push("it took no socket");
  expects("the client sees an end", () => ends(client));
  expects("the socket's own source is gone", () => isGone(() => CancelSource.from(own)));
  for (const resource of [client, listener, far]) resource?.close();
  source.dispose();
  return { held, wrong };
}

function ends(socket: TcpSocket): boolean {
  return socket.readSync(new Uint8Array(1), { timeout: 1000 }) === 0;
}

/** Whether it is closed for good; what can be taken still is closed then. */
function isGone(from: () => Disposable): boolean {
  try {
    from()[Symbol.dispose]();
    return false;
  } catch (error) {
    if (!(error instanceof ClosedError)) throw error;
    return true;
  }
}

for (const deed of deeds) {
  test(`a thread ${deed}, and is terminated before any one of its accesses to what threads share: nothing is lost or left`, async () => {
    const wrong: string[] = [];
    for (let step = 0, more = true; more; step++) {
      const before = await quietTable();
      const result = await dieAt(deed, step);
      more = result.held;
      wrong.push(...result.wrong);
      const { opened, closed } = await changesSince(before, IF_LIKELY);
      for (const fd of Object.keys(opened)) close(Number(fd));
      if (Object.keys(opened).length === 1 && step < (UNRECORDED[deed] ?? 0)) continue;
      if (!Bun.deepEquals({ opened, closed }, NONE)) {
        wrong.push(`before access ${step}: left ${JSON.stringify({ opened, closed })}`);
      }
    }
    expect(wrong).toEqual([]);
  });
}
