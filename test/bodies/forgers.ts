/** A thread that is given handles which are worth nothing. */
import { CancelSource, TcpListener, TcpSocket } from "../../src/index.ts";
import type { Context } from "../thread.ts";

const classes = { CancelSource, TcpListener, TcpSocket };

/** Tries them all, and says what came of it: each kind of outcome once. */
export function takeAll({ say }: Context, { kind, handles }: { kind: keyof typeof classes; handles: never[] }): void {
  const outcomes = new Set<string>();
  for (const handle of handles) {
    try {
      classes[kind].from(handle);
      outcomes.add("taken");
    } catch (error) {
      outcomes.add((error as Error).name);
    }
  }
  say([...outcomes]);
}
