import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as ffi from "../ffi/index.ts";
import { choosePlatform, constants, platform } from "../ffi/platform/index.ts";
import type { Platform } from "../ffi/platform/platform.ts";
import { temporaryDirectory } from "./setup.ts";
import { thrown } from "./thread.ts";
import { needs, Program } from "./tool.ts";

setDefaultTimeout(60_000);

interface Target {
  libc: string;
  errno: string;
  constants: Record<string, number | null>;
  structs: Record<string, { size: number; fields: Record<string, [offset: number, size: number]> }>;
}
const fixture = new URL("./fixtures/platform-constants.json", import.meta.url);
const { targets } = JSON.parse(readFileSync(fixture, "utf8")) as { targets: Record<string, Target> };

/** The fixture has null, and the platform files NaN, for what a platform lacks. */
function withNaN(values: Record<string, number | null>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value ?? Number.NaN]));
}

const folder = new URL("../ffi/platform/", import.meta.url);
const names = readdirSync(folder)
  .map((file) => file.replace(/\.ts$/, ""))
  .filter((name) => name !== "index" && name !== "platform");

for (const name of names) {
  test(`${name} has the constants, layouts and library that its headers have`, async () => {
    const expected = targets[name]!;
    const exports = (await import(new URL(`${name}.ts`, folder).href)) as Record<string, Platform>;
    const [file, ...others] = Object.values(exports);
    expect(others).toEqual([]);
    expect({ ...file!.constants } as Record<string, number>).toEqual(withNaN(expected.constants));
    expect(file!.libc).toBe(expected.libc);
    expect(file!.errnoSymbol).toBe(expected.errno);
    expect(file!.constants.MSG_NOSIGNAL).not.toBeNaN(); // what keeps every send from raising SIGPIPE
    expect(Object.keys(file!.structs).length).toBeGreaterThan(0);
    for (const [struct, layout] of Object.entries(file!.structs)) {
      // A file may leave out a field that nothing uses (sin_len of the BSDs); those that it has must be right.
      expect({ [struct]: expected.structs[struct] }).toMatchObject({ [struct]: layout });
    }
  });
}

test("each platform that the error message names has a file, and is chosen by what the process says of itself", async () => {
  expect(names.toSorted()).toEqual([
    "darwin-arm64",
    "darwin-x64",
    "freebsd-x64",
    "linux-arm64-gnu",
    "linux-arm64-musl",
    "linux-x64-gnu",
    "linux-x64-musl",
  ]);
  for (const name of names) {
    const [os, arch, libc = "gnu"] = name.split("-") as [string, string, ("gnu" | "musl")?];
    const exports = (await import(new URL(`${name}.ts`, folder).href)) as Record<string, Platform>;
    expect(choosePlatform(os, arch, libc)).toBe(Object.values(exports)[0]!);
  }
});

test("every constant is exported by its C name, with the value of this machine", () => {
  const exported = ffi as unknown as Record<string, number>;
  const wanted = Object.keys(targets["linux-x64-gnu"]!.constants);
  expect(wanted.filter((name) => !(name in exported))).toEqual([]);
  expect(Object.fromEntries(wanted.map((name) => [name, exported[name]!]))).toEqual({ ...constants });
});

for (const [os, arch] of [
  ["win32", "x64"],
  ["linux", "riscv64"],
  ["freebsd", "arm64"],
  ["darwin", "ppc64"],
] as const) {
  test(`on ${os} (${arch}) one error names the platforms that work`, () => {
    const { message } = thrown(() => choosePlatform(os, arch, "gnu"));
    expect(message).toContain(`does not run on ${os} (${arch})`);
    expect(message).toContain("Linux (x64 and arm64, glibc and musl)");
    expect(message).toContain("macOS (x64 and arm64)");
    expect(message).toContain("FreeBSD (x64)");
    expect(message.includes("WSL")).toBe(os === "win32");
  });
}

test("importing the library on Windows fails with that error, and with nothing else", async () => {
  const entry = new URL("../src/index.ts", import.meta.url).href;
  // A computed key, for Bun replaces a plain process.platform when it compiles.
  const script = `
    Object.defineProperty(process, "platform", { value: "win32" });
    try {
      await import(${JSON.stringify(entry)});
    } catch (error) {
      console.log(error.message);
    }`;
  await using program = Program.start([process.execPath, "-e", script]);
  expect(await program.done()).toMatch(/^cancelfd does not run on win32 \(\w+\)\. It runs on Linux .*WSL\.\n$/);
  expect(program.errors).toBe("");
});

const printed = [
  ...[
    "AF_INET6",
    "SOCK_STREAM",
    "SOCK_NONBLOCK",
    "SOCK_CLOEXEC",
    "SOL_SOCKET",
    "SO_REUSEPORT",
    "SO_ERROR",
    "SO_LINGER",
  ],
  ...["IPV6_V6ONLY", "TCP_NODELAY", "TCP_KEEPIDLE", "MSG_NOSIGNAL", "SHUT_WR", "O_NONBLOCK", "O_CLOEXEC", "F_SETFL"],
  ...["EPOLLET", "EPOLLEXCLUSIVE", "EPOLL_CTL_MOD", "EPOLL_CLOEXEC", "EFD_SEMAPHORE", "TFD_TIMER_ABSTIME", "POLLRDHUP"],
  ...["CLOCK_MONOTONIC", "EAGAIN", "EINPROGRESS", "ECONNREFUSED", "ENOTCONN", "ENOSYS", "EAI_NONAME", "EAI_SYSTEM"],
  ...["AI_ADDRCONFIG", "RLIMIT_NOFILE", "SIGEV_THREAD"],
] as (keyof typeof constants)[];
const compared = ["epoll_event", "msghdr", "sockaddr_in6", "addrinfo", "gaicb", "sigevent"] as const;
const structs = compared.filter((struct) => platform.structs[struct] !== undefined);

function program(): string {
  const lines = printed.map((name) => `printf("%s %lld\\n", "${name}", (long long)${name});`);
  for (const struct of structs) {
    lines.push(`printf("%s %zu\\n", "${struct}", sizeof(struct ${struct}));`);
    for (const field of Object.keys(platform.structs[struct]!.fields)) {
      const [offset, size] = [`offsetof(struct ${struct}, ${field})`, `sizeof(((struct ${struct} *)0)->${field})`];
      lines.push(`printf("%s %zu %zu\\n", "${struct}.${field}", ${offset}, ${size});`);
    }
  }
  const headers = ["errno", "fcntl", "netdb", "netinet/in", "netinet/tcp", "poll", "signal", "stddef", "stdio", "time"];
  const linux = ["sys/epoll", "sys/eventfd", "sys/resource", "sys/socket", "sys/timerfd"];
  const includes = [...headers, ...linux].map((header) => `#include <${header}.h>`);
  return `#define _GNU_SOURCE\n${includes.join("\n")}\nint main(void) {\n  ${lines.join("\n  ")}\n  return 0;\n}\n`;
}

needs("gcc")("a C program compiled on this machine agrees with the platform that was chosen for it", async () => {
  using directory = temporaryDirectory();
  const source = join(directory.path, "print.c");
  const binary = join(directory.path, "print");
  writeFileSync(source, program());
  await using compiler = Program.start(["gcc", "-Wall", "-Werror", "-o", binary, source]);
  await compiler.done();
  await using run = Program.start([binary]);
  const said = (await run.done()).trimEnd().split("\n");

  // EPOLLET is 1u << 31 in C; both sides compare as the number that C prints.
  const ours = printed.map((name) => `${name} ${constants[name]}`);
  for (const struct of structs) {
    const { size, fields } = platform.structs[struct]!;
    ours.push(`${struct} ${size}`);
    for (const [field, [offset, bytes]] of Object.entries(fields)) ours.push(`${struct}.${field} ${offset} ${bytes}`);
  }
  expect(said).toEqual(ours);
});
