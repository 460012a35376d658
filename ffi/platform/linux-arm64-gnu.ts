/** Linux on arm64 with glibc: `epoll_event` is not packed there. */
import { linuxX64Gnu } from "./linux-x64-gnu.ts";
import type { Platform } from "./platform.ts";

export const linuxArm64Gnu: Platform = {
  ...linuxX64Gnu,
  structs: {
    ...linuxX64Gnu.structs,
    epoll_event: { size: 16, fields: { events: [0, 4], data: [8, 8] } },
  },
};
