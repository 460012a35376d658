/** Linux on x86-64 with musl: no getaddrinfo_a, and msghdr's two lengths are ints with padding. */
import { linuxX64Gnu } from "./linux-x64-gnu.ts";
import { ABSENT, type Platform, type Structs } from "./platform.ts";

const { gaicb: _gaicb, sigevent: _sigevent, ...structs } = linuxX64Gnu.structs;

export const linuxX64Musl: Platform = {
  ...linuxX64Gnu,
  libc: "libc.musl-x86_64.so.1",
  lookupLibraries: [],
  constants: {
    ...linuxX64Gnu.constants,
    EAI_INPROGRESS: ABSENT,
    EAI_CANCELED: ABSENT,
    EAI_NOTCANCELED: ABSENT,
    EAI_ALLDONE: ABSENT,
    EAI_INTR: ABSENT,
    GAI_NOWAIT: ABSENT,
    GAI_WAIT: ABSENT,
    SOMAXCONN: 128,
  },
  structs: {
    ...structs,
    msghdr: {
      size: 56,
      fields: {
        msg_name: [0, 8],
        msg_namelen: [8, 4],
        msg_iov: [16, 8],
        msg_iovlen: [24, 4],
        msg_control: [32, 8],
        msg_controllen: [40, 4],
        msg_flags: [48, 4],
      },
    },
  } satisfies Structs,
};
