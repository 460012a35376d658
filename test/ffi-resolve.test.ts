import { expect, setDefaultTimeout, test } from "bun:test";
import { getaddrinfo, type InetAddress, ipVersion, POLLHUP, POLLIN, SystemError } from "../ffi/index.ts";
import { setErrno } from "../ffi/libc.ts";
import { constants, platform, structs } from "../ffi/platform/index.ts";
import { Lookup } from "../ffi/resolve.ts";
import { failWith, faults } from "./faults.ts";
import { changes, descriptors, flagsOf, has, waitFor } from "./fds.ts";
import { thrown, until } from "./thread.ts";
import { Program } from "./tool.ts";

// A name server that does not answer costs a lookup of a name that nobody has up to 20 seconds.
setDefaultTimeout(120_000);
const replace = faults();
/** musl and macOS have no getaddrinfo_a, and then there is no `Lookup`. */
const withLookup = test.skipIf(structs.gaicb === undefined);
const nothing = { opened: {}, closed: {} };

/** A lookup from its beginning to its end. */
function lookUp(hostname: string, family: 0 | 4 | 6 = 0): InetAddress[] {
  const lookup = Lookup.start(hostname, family)!;
  waitFor(lookup.fd, POLLIN, 60_000);
  expect(lookup.done).toBe(true);
  return lookup.finish();
}

/** The blocks of memory that requests were given and that were not freed yet. */
function blocks(): Set<number> {
  const live = new Set<number>();
  replace("malloc", (call) => (size) => {
    const block = call(size);
    live.add(block);
    return block;
  });
  replace("free", (call) => (block) => {
    live.delete(block as number);
    return call(block);
  });
  return live;
}

/** Holds the next request back from libc until `go` is called. */
function heldBack(): { go: () => void } {
  const held = { go: () => {} };
  let first = true;
  replace("getaddrinfo_a", (call) => (...request) => {
    if (!first) return call(...request);
    first = false;
    held.go = () => expect(call(...request)).toBe(0);
    return 0;
  });
  return held;
}

for (const [way, resolve, present] of [
  ["getaddrinfo", getaddrinfo, true],
  ["Lookup", lookUp, structs.gaicb !== undefined],
] as const) {
  test.skipIf(!present)(`${way}: localhost is a loopback address, once, without a port`, () => {
    const addresses = resolve("localhost");
    expect(addresses.length).toBeGreaterThan(0);
    for (const { address, port, family } of addresses) {
      expect(["127.0.0.1", "::1"]).toContain(address);
      expect(`IPv${ipVersion(address)}`).toBe(family);
      expect(port).toBe(0);
    }
    expect(new Set(addresses.map(({ address }) => address)).size).toBe(addresses.length);
    expect(resolve("localhost", 4)).toEqual([{ address: "127.0.0.1", port: 0, family: "IPv4" }]);
  });

  test.skipIf(!present)(`${way}: an address is its own answer, zone and all`, () => {
    expect(resolve("127.0.0.1")).toEqual([{ address: "127.0.0.1", port: 0, family: "IPv4" }]);
    expect(resolve("2001:DB8::1", 6)).toEqual([{ address: "2001:db8::1", port: 0, family: "IPv6" }]);
    expect(resolve("fe80::1%1", 6)).toMatchObject([
      { address: expect.stringMatching(/^fe80::1%[a-z]/), family: "IPv6" },
    ]);
  });

  const unknown = `${way}: a name that nobody has is ENOTFOUND of getaddrinfo, with the name`;
  test.skipIf(!present)(unknown, () => {
    const error = thrown(() => resolve("nope.invalid"));
    expect(error).toBeInstanceOf(SystemError);
    expect(error).toMatchObject({ code: "ENOTFOUND", syscall: "getaddrinfo", address: "nope.invalid" });
    expect(error.message).toStartWith("getaddrinfo ENOTFOUND nope.invalid: ");
    expect((error as SystemError).errno).toBeLessThan(0);
    for (const name of ["", "a".repeat(300), "a..b"]) {
      expect(thrown(() => resolve(name))).toMatchObject({ code: "ENOTFOUND", syscall: "getaddrinfo", address: name });
    }
    expect(thrown(() => resolve("127.0.0.1", 6))).toMatchObject({ code: "ENOTFOUND" });
  });

  test.skipIf(!present)(`${way}: a name with a NUL in it is refused, not cut short there`, () => {
    expect(() => resolve("localhost\0.example.com")).toThrow(TypeError);
  });

  test.skipIf(!present)(`${way}: 200 lookups leave the descriptor table as it was, and no memory`, () => {
    resolve("localhost"); // the resolver reads its configuration once
    const before = descriptors();
    const live = blocks();
    for (let i = 0; i < 100; i++) {
      expect(resolve("localhost", 4)).toHaveLength(1);
      expect(thrown(() => resolve("127.0.0.1", 6))).toMatchObject({ code: "ENOTFOUND" }); // fails without a name server
    }
    expect(changes(before)).toEqual(nothing);
    expect(live.size).toBe(0);
  });
}

withLookup("a lookup's descriptor is at its end once the lookup is done, and not before", () => {
  const held = heldBack();
  const lookup = Lookup.start("localhost", 4)!;
  expect(flagsOf(lookup.fd)).toEqual({ nonBlocking: true, closeOnExec: true });
  expect(lookup.done).toBe(false);
  expect(has(lookup.fd, POLLIN | POLLHUP)).toBe(false);
  held.go();
  waitFor(lookup.fd, POLLIN);
  expect(lookup.done).toBe(true);
  expect(lookup.done).toBe(true);
  expect(lookup.finish()).toEqual([{ address: "127.0.0.1", port: 0, family: "IPv4" }]);
});

withLookup("50 lookups at once each find what they were asked for", () => {
  const before = descriptors();
  const addresses = Array.from({ length: 50 }, (_, i) => `127.0.0.${i + 1}`);
  const lookups = addresses.map((address) => Lookup.start(address)!);
  const found = lookups.map((lookup) => {
    waitFor(lookup.fd, POLLIN);
    return lookup.finish()[0]!.address;
  });
  expect(found).toEqual(addresses);
  expect(changes(before)).toEqual(nothing);
});

withLookup("an abandoned lookup ends by itself: no descriptor stays, and a later lookup frees its memory", async () => {
  lookUp("localhost");
  const before = descriptors();
  const live = blocks();
  const held = heldBack();
  const lookup = Lookup.start("localhost")!;
  expect(live.size).toBe(1);
  lookup.abandon();
  expect(Object.keys(changes(before).opened)).toHaveLength(1); // the write end, which is libc's to close
  held.go();
  await until("libc to close its end", () => Object.keys(changes(before).opened).length === 0);
  expect(changes(before)).toEqual(nothing);
  expect(live.size).toBe(1);
  lookUp("localhost");
  expect(live.size).toBe(0);
});

withLookup("the memory of an abandoned lookup is libc's as long as it is under way", async () => {
  const before = descriptors();
  const live = blocks();
  replace("gai_cancel", () => () => constants.EAI_NOTCANCELED);
  Lookup.start("localhost")!.abandon();
  const [abandoned] = live;
  let underWay = true;
  replace("gai_error", (call) => (block) => (underWay && block === abandoned ? constants.EAI_INPROGRESS : call(block)));
  lookUp("localhost");
  lookUp("localhost");
  expect([...live]).toEqual([abandoned!]);
  underWay = false;
  await until("libc to close its end", () => Object.keys(changes(before).opened).length === 0);
  lookUp("localhost");
  expect(live.size).toBe(0);
});

withLookup("a lookup that libc had not begun when it was abandoned leaves nothing, at once", () => {
  const before = descriptors();
  const live = blocks();
  heldBack();
  replace("gai_cancel", () => () => constants.EAI_CANCELED);
  Lookup.start("localhost")!.abandon();
  expect(changes(before)).toEqual(nothing);
  expect(live.size).toBe(0);
});

withLookup("200 lookups abandoned at once, begun or not, leave no descriptor and no memory in the end", async () => {
  lookUp("localhost");
  const before = descriptors();
  const live = blocks();
  const lookups = Array.from({ length: 200 }, () => Lookup.start("localhost")!);
  for (const lookup of lookups) lookup.abandon();
  await until("libc to close its ends", () => Object.keys(changes(before).opened).length === 0);
  expect(changes(before)).toEqual(nothing);
  lookUp("localhost");
  expect(live.size).toBe(0);
});

withLookup("a lookup that fails without a number of libc's own is ENOTFOUND: errno is that of another thread", () => {
  const lookup = Lookup.start("localhost")!;
  waitFor(lookup.fd, POLLIN);
  replace("gai_error", () => () => {
    setErrno(constants.EINPROGRESS);
    return constants.EAI_SYSTEM;
  });
  expect(thrown(() => lookup.finish())).toMatchObject({ code: "ENOTFOUND", syscall: "getaddrinfo" });
});

withLookup("a lookup that is over is over: a second end closes no stranger and frees nothing", async () => {
  const at = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  // In a process of its own: freeing twice would take this one down.
  const script = `
    import { close, F_DUPFD_CLOEXEC, F_GETFD, fcntl } from ${at("../ffi/index.ts")};
    import { Lookup } from ${at("../ffi/resolve.ts")};
    for (const first of ["finish", "abandon"]) for (const second of ["finish", "abandon"]) {
      const lookup = Lookup.start("127.0.0.1");
      while (!lookup.done) await Bun.sleep(1);
      lookup[first]();
      const stranger = fcntl(2, F_DUPFD_CLOEXEC, lookup.fd);
      if (stranger !== lookup.fd) throw new Error("expected the number to be free");
      try { lookup[second](); } catch {}
      // Something freed twice is found by the next lookup. Waited for: libc's thread takes low numbers for a while, too.
      const next = Lookup.start("127.0.0.1");
      while (!next.done) await Bun.sleep(1);
      next.abandon();
      console.log(fcntl(stranger, F_GETFD));
      close(stranger);
    }`;
  await using program = Program.start([process.execPath, "-e", script]);
  expect(await program.done()).toBe("1\n".repeat(4));
});

withLookup(
  "getaddrinfo_a is taken from the first library that has it, as glibc before 2.34 had it in another",
  async () => {
    const at = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
    const without = `ld-linux-${process.arch === "arm64" ? "aarch64.so.1" : "x86-64.so.2"}`; // a library, and it has no such call
    const orders = [["no-such-library.so.1", without, platform.libc], [without]];
    for (const [index, libraries] of orders.entries()) {
      // In a process of its own, for the table is opened once a thread.
      const script = `
      const { platform } = await import(${at("../ffi/platform/index.ts")});
      platform.lookupLibraries = ${JSON.stringify(libraries)};
      const { Lookup } = await import(${at("../ffi/resolve.ts")});
      const lookup = Lookup.start("127.0.0.1");
      while (lookup !== null && !lookup.done) await Bun.sleep(1);
      console.log(JSON.stringify(lookup && lookup.finish()));`;
      await using program = Program.start([process.execPath, "-e", script]);
      const found = JSON.parse(await program.done());
      expect(found).toEqual(index === 0 ? [{ address: "127.0.0.1", port: 0, family: "IPv4" }] : null);
    }
  },
);

test("getaddrinfo that a system call failed for carries that error, and the name", () => {
  replace("getaddrinfo", () => () => {
    setErrno(constants.EMFILE);
    return constants.EAI_SYSTEM;
  });
  expect(thrown(() => getaddrinfo("localhost"))).toMatchObject({
    code: "EMFILE",
    syscall: "getaddrinfo",
    address: "localhost",
  });
});

test("a failure that has no advice of ours is told in libc's words", () => {
  replace("getaddrinfo", () => () => constants.EAI_SOCKTYPE);
  const { message } = thrown(() => getaddrinfo("name.test"));
  expect(message).toMatch(/^getaddrinfo ENOTFOUND name\.test: getaddrinfo said -?\d+: \w+ \w+/);
});

for (const [what, prepare, outcome] of [
  ["getaddrinfo_a is missing", () => replace("getaddrinfo_a", () => () => failWith(constants.ENOSYS)), null],
  ["getaddrinfo_a fails", () => replace("getaddrinfo_a", () => () => constants.EAI_AGAIN), "ENOTFOUND"],
  ["no memory is left", () => replace("malloc", () => () => 0), "ENOTFOUND"],
  ["no descriptor is left", () => replace("pipe2", () => () => failWith(constants.EMFILE)), "EMFILE"],
] as const) {
  withLookup(`where ${what}, a lookup does not begin, and leaves nothing behind`, () => {
    const before = descriptors();
    const live = blocks();
    prepare();
    if (outcome === null) expect(Lookup.start("localhost")).toBeNull();
    else expect(thrown(() => Lookup.start("localhost"))).toMatchObject({ code: outcome });
    expect(changes(before)).toEqual(nothing);
    expect(live.size).toBe(0);
  });
}
