/** Linux on arm64 with musl: what musl changes, and what arm64 changes. */
import { linuxArm64Gnu } from "./linux-arm64-gnu.ts";
import { linuxX64Musl } from "./linux-x64-musl.ts";
import type { Platform } from "./platform.ts";

const { epoll_event } = linuxArm64Gnu.structs;

export const linuxArm64Musl: Platform = {
  ...linuxX64Musl,
  libc: "libc.musl-aarch64.so.1",
  structs: { ...linuxX64Musl.structs, ...(epoll_event && { epoll_event }) },
};
