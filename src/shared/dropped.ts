/**
 * Objects that were dropped without `close`: their descriptors are closed when they are collected, and the program is
 * told, because a descriptor that waits for the collector is one that runs out under load.
 */
const registry = new FinalizationRegistry<Dropped>((dropped) => {
  if (!dropped.drop()) return;
  const timer = setTimeout(() => {
    process.emitWarning(
      `a ${dropped.kind} was dropped without ${dropped.remedy}; its file descriptor was closed when it was collected`,
      { code: "CANCELFD_DROPPED" },
    );
  }, 0);
  // Bun collects before it exits: a script that just ends is not worth a warning.
  timer.unref();
});

/** The part of an object that outlives it. It must not refer to the object, or that is never collected. */
export interface Dropped {
  readonly kind: string;
  /** What should have been called. */
  readonly remedy: string;
  /** Closes it; false if there was nothing to close. */
  drop(): boolean;
}

export function closeWhenDropped(object: object, dropped: Dropped): void {
  registry.register(object, dropped, dropped);
}

export function closedInTime(dropped: Dropped): void {
  registry.unregister(dropped);
}

/** Why something outside the heap depends on an object: it is `ref`ed, or its handle is about. */
type Reason = "ref" | "handle";
const kept = new Map<object, Set<Reason>>();

/** Not collected, until `letGo` for the same reason. */
export function keep(object: object, reason: Reason): void {
  const reasons = kept.get(object);
  if (reasons === undefined) kept.set(object, new Set([reason]));
  else reasons.add(reason);
}

/** Without a reason: for none any more. */
export function letGo(object: object, reason?: Reason): void {
  const reasons = kept.get(object);
  if (reasons === undefined) return;
  if (reason === undefined) reasons.clear();
  else reasons.delete(reason);
  if (reasons.size === 0) kept.delete(object);
}
