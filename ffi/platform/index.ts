/** The one place that asks what machine this is; everything else reads the data chosen here. */
import { readFileSync } from "node:fs";
import { darwinArm64 } from "./darwin-arm64.ts";
import { darwinX64 } from "./darwin-x64.ts";
import { freebsdX64 } from "./freebsd-x64.ts";
import { linuxArm64Gnu } from "./linux-arm64-gnu.ts";
import { linuxArm64Musl } from "./linux-arm64-musl.ts";
import { linuxX64Gnu } from "./linux-x64-gnu.ts";
import { linuxX64Musl } from "./linux-x64-musl.ts";
import type { Platform } from "./platform.ts";

const platforms: Readonly<Record<string, Platform>> = {
  "linux-x64-gnu": linuxX64Gnu,
  "linux-arm64-gnu": linuxArm64Gnu,
  "linux-x64-musl": linuxX64Musl,
  "linux-arm64-musl": linuxArm64Musl,
  "darwin-x64": darwinX64,
  "darwin-arm64": darwinArm64,
  "freebsd-x64": freebsdX64,
};

/**
 * The platform for a `process.platform`, `process.arch` and (on Linux) C library. Throws an error that names those
 * that work.
 */
export function choosePlatform(os: string, arch: string, libc: "gnu" | "musl"): Platform {
  const name = os === "linux" ? `${os}-${arch}-${libc}` : `${os}-${arch}`;
  const chosen = platforms[name];
  if (chosen === undefined) {
    throw new Error(
      `cancelfd does not run on ${os} (${arch}). It runs on Linux (x64 and arm64, glibc and musl), on macOS (x64 and ` +
        "arm64) and on FreeBSD (x64)." +
        (os === "win32" ? " On Windows, run Bun inside WSL." : ""),
    );
  }
  return chosen;
}

/**
 * What this process is linked against, not what else is installed: an Alpine machine can carry glibc's loader, and the
 * reverse.
 */
function linkedLibc(): "gnu" | "musl" {
  if (process.platform !== "linux") return "gnu";
  try {
    return readFileSync("/proc/self/maps", "latin1").includes("/ld-musl-") ? "musl" : "gnu";
  } catch {
    return "gnu"; // no /proc: a bare chroot; glibc is the likelier guess, and a wrong one fails loudly in dlopen
  }
}

export const platform: Platform = choosePlatform(process.platform, process.arch, linkedLibc());
export const { constants, structs } = platform;
