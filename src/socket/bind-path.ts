/** A Unix socket at a path: the file, who may take it over, and who may not. */
import { lstatSync } from "node:fs";
import { resolve } from "node:path";
import { constants } from "../../ffi/platform/index.ts";
import { Sockaddr } from "../../ffi/sockaddr.ts";
import { bind, connect, socket } from "../../ffi/socket.ts";
import { SystemError } from "../errors.ts";
import { closeOwned, own } from "../shared/ledger.ts";
import { fileAt, removeFile, type SocketFile } from "./listening-fd.ts";

const { AF_UNIX, EADDRINUSE, ECONNREFUSED, SOCK_STREAM } = constants;

/**
 * A socket bound to `path`, and its file; undefined for an abstract name. Throws `SystemError` (`EADDRINUSE` among
 * others), and `RangeError` for a path that does not fit.
 */
export function bindPath(path: string): { fd: number; file: SocketFile | undefined } {
  new Sockaddr().encode({ path });
  const fd = own(socket(AF_UNIX, SOCK_STREAM));
  try {
    try {
      bind(fd, { path });
    } catch (error) {
      const stale = error instanceof SystemError && error.errno === -EADDRINUSE ? staleFile(path) : null;
      if (stale === null) throw error;
      // Only this very file: if another server was faster to take it over, the second bind fails, as it should.
      removeFile(stale);
      bind(fd, { path });
    }
    // Absolute, because the working directory may be another one when it is removed.
    return { fd, file: path.startsWith("\0") ? undefined : fileAt(resolve(path)) };
  } catch (error) {
    closeOwned(fd);
    throw error;
  }
}

/** The file at `path` if it is a socket on which nobody listens (a crash left it); null if it has to stay. */
function staleFile(path: string): SocketFile | null {
  if (path.startsWith("\0") || !lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return null;
  const file = fileAt(resolve(path));
  const probe = own(socket(AF_UNIX, SOCK_STREAM));
  try {
    connect(probe, { path });
    return null; // somebody listens, or would if its backlog were not full
  } catch (error) {
    return error instanceof SystemError && error.errno === -ECONNREFUSED ? file : null;
  } finally {
    closeOwned(probe);
  }
}
