throw new Error(
  "cancelfd runs on Bun only: it calls libc through bun:ffi and ships TypeScript sources. Install Bun (npm install bun) and start the program with `bun run`.",
);
