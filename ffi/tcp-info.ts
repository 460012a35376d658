import { checkFd } from "./fd.ts";
import { libc } from "./libc.ts";
import { scratchWords } from "./memory.ts";
import { constants, structs } from "./platform/index.ts";
import { lastError } from "./system-error.ts";

const { IPPROTO_TCP, TCP_INFO } = constants;
const layout = structs.tcp_info;
const info = scratchWords((layout?.size ?? 0) / 4 + 1);
const length = scratchWords(1);

/**
 * The smoothed round-trip time of a TCP connection in microseconds, tcpi_rtt of TCP_INFO; 0 if the kernel has not
 * measured any, and where there is no such thing. Throws `SystemError`. tcp(7).
 */
export function roundTripTime(fd: number): number {
  checkFd(fd);
  if (layout === undefined) return 0;
  const [offset] = layout.fields.tcpi_rtt;
  info[offset / 4] = 0;
  length[0] = layout.size;
  if (libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, length) === -1) throw lastError("getsockopt");
  return info[offset / 4]!;
}
