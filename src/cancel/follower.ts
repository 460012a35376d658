/** What waits on a source, as the source knows it: waiting builds on sources, not the other way round. */
import type { CancelCore } from "./core.ts";

/** A selector in which doorbells stand, which has to know when one of them goes. */
export interface DoorbellWatcher {
  forget(core: CancelCore): void;
}

/** The promise side of this thread. */
export interface Follower {
  /** Aborts when the present round is over. `holder`, which hands it out, is not collected before that. */
  signal(holder: object): AbortSignal;
  /** `holder` was disposed, and need not stay for the signal. */
  unhold(holder: object): void;
  /** A round of the source may be over, by what this thread did. */
  ended(): void;
  /** The source has a doorbell now. */
  shared(): void;
  /** This thread lets go of the source. */
  letGo(): void;
}

let newFollower: (core: CancelCore) => Follower;
/** Tells how a source gets its follower. */
export function setFollow(by: (core: CancelCore) => Follower): void {
  newFollower = by;
}

/** The follower of a source. */
export function follow(core: CancelCore): Follower {
  return core.follower ?? newFollower(core);
}

let doorbells = 0;

/** Grows whenever a source of this thread gets its doorbell: whoever watches doorbells compares and looks again. */
export function doorbellCount(): number {
  return doorbells;
}

export function countDoorbell(): void {
  doorbells++;
}
