/** Threads that take a source and give it back. */
import { readFileSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { type CancelHandle, CancelSource, ClosedError } from "../../src/index.ts";
import { defineKind, Shared, type SharedHandle } from "../../src/shared/holds.ts";
import { passed, reach } from "../gates.ts";
import { around } from "../hooks.ts";
import type { Context } from "../thread.ts";

/** Words of the memory that all holders and the test share. */
export const BEGIN = 1;
/** How often the doorbell was closed, or the shared thing ended. */
export const CLOSES = 2;
/** The first of one gate a thread. */
export const READY = 8;

export interface HoldJob {
  round: number;
  cancel: CancelHandle;
  /** The doorbell's descriptor and what the kernel calls it; -1 where it has none. */
  fd: number;
  identity: string;
  times: number;
}

export interface Held {
  /** How often it had the source; whether it was gone in the end; and how often its doorbell was not there. */
  taken: number;
  gone: boolean;
  early: number;
}

/** What the kernel says about a descriptor, of an eventfd with a number that is never used again; "" if it is closed. */
export function identityOf(fd: number): string {
  try {
    return /eventfd-id: .*/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[0] ?? "no eventfd";
  } catch {
    return "";
  }
}

function message<T>(): Promise<T | null> {
  return new Promise((resolve) => parentPort!.once("message", resolve));
}

/** `undefined` if it is gone. */
function orGone<T>(take: () => T): T | undefined {
  try {
    return take();
  } catch (error) {
    if (error instanceof ClosedError) return undefined;
    throw error;
  }
}

/** For each job that is posted: takes the source and gives it back, so often or until it is gone. */
export async function takeAndGiveBack({ say }: Context, { shared, index }: { shared: Int32Array; index: number }) {
  say("up");
  for (let job: HoldJob | null; (job = await message<HoldJob>()) !== null; ) {
    const { round, cancel, fd, identity, times } = job;
    using _closes = around(
      ["close"],
      (closed) => void (closed === fd && Atomics.add(shared, CLOSES, 1)),
      () => {},
    );
    const held: Held = { taken: 0, gone: false, early: 0 };
    reach(shared, READY + index, round);
    passed(shared, BEGIN, round);
    for (; held.taken < times; held.taken++) {
      const source = orGone(() => CancelSource.from(cancel));
      held.gone = source === undefined;
      if (source === undefined) break;
      if (fd !== -1 && held.taken % 50 === 0 && identityOf(fd) !== identity) held.early++;
      source.dispose();
    }
    say(held);
  }
}

/** For each handle that is posted: whether the source could be taken and works. */
export async function takeAndUse({ say }: Context): Promise<void> {
  say("up");
  for (let handle: CancelHandle | null; (handle = await message<CancelHandle>()) !== null; ) {
    using source = orGone(() => CancelSource.from(handle!));
    source?.cancel(); // rings, which fails on a doorbell that is closed
    say(source === undefined ? "gone" : source.cancelled ? "works" : "does not work");
  }
}

/** A kind of shared thing that counts its ends. */
export function countedKind(shared: Int32Array) {
  return defineKind({
    number: 77,
    name: "test",
    end: () => void Atomics.add(shared, CLOSES, 1),
    claim: () => {},
    mend: () => {},
  });
}

export interface ThingJob {
  round: number;
  handle: SharedHandle;
  times: number;
}

/** `takeAndGiveBack` of a bare shared thing; says how often it had ended although this thread held it. */
export async function holdThings({ say }: Context, { shared, index }: { shared: Int32Array; index: number }) {
  const kind = countedKind(shared);
  say("up");
  for (let job: ThingJob | null; (job = await message<ThingJob>()) !== null; ) {
    let early = 0;
    reach(shared, READY + index, job.round);
    passed(shared, BEGIN, job.round);
    for (let i = 0; i < job.times; i++) {
      const { handle } = job;
      const thing = orGone(() => Shared.take(handle, kind));
      if (thing === undefined) break;
      if (Atomics.load(shared, CLOSES) >= job.round) early++;
      thing.release();
    }
    say(early);
  }
}

/** Holds a source, and blocks for ever without using it. */
export function holdForEver({ say }: Context, handle: CancelHandle): void {
  CancelSource.from(handle);
  say("held");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
