/** Gets handles from its parent process, which can be copies only, and says what became of them. */
import { CancelSource, ClosedError, TcpListener, TcpSocket, UnixListener, UnixSocket } from "../../src/index.ts";

const classes = { CancelSource, TcpListener, UnixListener, TcpSocket, UnixSocket };
type Name = keyof typeof classes;

process.on("message", (handles: Record<Name, never>) => {
  const outcome: Record<string, string> = {};
  for (const name of Object.keys(classes) as Name[]) {
    try {
      classes[name].from(handles[name])[Symbol.dispose]();
      outcome[name] = "taken";
    } catch (error) {
      outcome[name] = error instanceof ClosedError ? "ClosedError" : (error as Error).name;
    }
  }
  process.send!(outcome);
  process.disconnect!();
});
process.send!("up");
