/** macOS on arm64: variadic arguments go on the stack. */
import { darwinX64 } from "./darwin-x64.ts";
import type { Platform } from "./platform.ts";

export const darwinArm64: Platform = { ...darwinX64, variadicPadding: 6 };
