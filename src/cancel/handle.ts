/** What stands for a source in other threads. */
import { claimBell, closeBell, mendBell } from "../shared/doorbell.ts";
import { defineKind, type SharedHandle } from "../shared/holds.ts";
import { isMarked } from "../shared/state.ts";

declare const handleOf: unique symbol;

/** A source on its way to another thread: post it, and call `CancelSource.from` there. It holds nothing by itself. */
export interface CancelHandle {
  readonly [handleOf]: "CancelSource";
}

/** What is inside a handle. Plain data, so that it can be cloned. */
export interface SourceHandle extends SharedHandle {
  readonly parents: readonly SourceHandle[];
}

export const kind = defineKind({
  number: 1,
  name: "CancelSource",
  claim: claimBell,
  end: closeBell,
  mend: (source, thread) => mendBell(source, thread, isMarked(source.payload)),
});
