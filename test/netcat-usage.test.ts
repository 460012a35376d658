/** What client.ts takes as a command, and what it says to the rest. */
import { expect, test } from "bun:test";
import { netcat } from "./netcat.ts";
import { keeper, refusedPort } from "./setup.ts";

const keep = keeper();

const bad: [args: string[], says: string][] = [
  [["--timeout", "0", "localhost", "1"], '--timeout takes seconds, more than 0, not "0"'],
  [["--timeout", "x", "localhost", "1"], '--timeout takes seconds, more than 0, not "x"'],
  [["--timeout", "", "localhost", "1"], '--timeout takes seconds, more than 0, not ""'],
  [["--timeout=-1", "localhost", "1"], '--timeout takes seconds, more than 0, not "-1"'],
  [["--timeout", "NaN", "localhost", "1"], '--timeout takes seconds, more than 0, not "NaN"'],
  [["--timeout", "5s", "localhost", "1"], '--timeout takes seconds, more than 0, not "5s"'],
  [["localhost", "1", "--timeout"], "--timeout"],
  [["--connect-timeout", "0", "localhost", "1"], '--connect-timeout takes seconds, more than 0, not "0"'],
  [["--connect-timeout", "soon", "--listen", "1"], '--connect-timeout takes seconds, more than 0, not "soon"'],
  [["--connect-timeout", "1"], "give HOST and PORT"],
  [["--timeout", "1"], "give HOST and PORT"],
  [["--verbose"], "give HOST and PORT"],
  [["--interval", "1", "localhost", "1"], "--interval"],
  [["--interval", "1", "--listen", "1"], "--interval"],
  [["--interval", "1", "--unix", "/nowhere"], "--interval"],
  [["--interval", "1", "--timeout", "1"], "--timeout"],
  [["--async", "--verbose"], "give HOST and PORT"],
  [["--async", "--interval", "1", "localhost", "1"], "--interval"],
  [["--async", "localhost"], "give HOST and PORT"],
  [["--async=1", "localhost", "1"], "--async"],
  [["localhost"], "give HOST and PORT"],
  [["--verbose", "localhost"], "give HOST and PORT"],
  [["localhost", "1", "2"], "give HOST and PORT"],
  [["", "1"], "HOST is empty"],
  [["localhost", "99999"], 'PORT is 0 to 65535, not "99999"'],
  [["localhost", "65536"], 'PORT is 0 to 65535, not "65536"'],
  [["localhost", "http"], 'PORT is 0 to 65535, not "http"'],
  [["localhost", "0x50"], 'PORT is 0 to 65535, not "0x50"'],
  [["localhost", "1.5"], 'PORT is 0 to 65535, not "1.5"'],
  [["localhost", " 80"], 'PORT is 0 to 65535, not " 80"'],
  [["localhost", ""], 'PORT is 0 to 65535, not ""'],
  [["localhost", "--", "-1"], 'PORT is 0 to 65535, not "-1"'],
  [["--listen"], "--listen takes [HOST] PORT"],
  [["--listen", "localhost", "1", "2"], "--listen takes [HOST] PORT"],
  [["--listen", "localhost"], 'PORT is 0 to 65535, not "localhost"'],
  [["--listen", "99999"], 'PORT is 0 to 65535, not "99999"'],
  [["--listen", "", "1"], "HOST is empty"],
  [["--listen=1"], "--listen"],
  [["--unix"], "--unix"],
  [["--unix", ""], "--unix takes a PATH"],
  [["--unix", "/nowhere", "localhost"], "--unix takes a PATH, and no HOST or PORT beside it"],
  [["--unix", "/nowhere", "localhost", "1"], "--unix takes a PATH, and no HOST or PORT beside it"],
  [["--unix", "/nowhere", "1", "--listen"], "--unix takes a PATH, and no HOST or PORT beside it"],
  [["--listen", "--unix"], "--unix"],
  [["--udp", "localhost", "1"], "--udp"],
  [["-l", "1"], "-l"],
];

for (const [args, says] of bad) {
  test(`bad usage is status 2, and standard error says what and how: ${JSON.stringify(args)}`, async () => {
    const program = keep(netcat(args));
    expect(await program.exited()).toBe(2);
    expect(program.output).toBe("");
    const [message, usage] = program.errors.split("\nusage: ");
    expect(message).toContain(says);
    expect(usage).toStartWith("bun run client.ts");
  });
}

for (const args of [["--help"], ["-h"], ["--help", "localhost", "99999"], ["--timeout", "0", "--help"]]) {
  test(`${args.join(" ")} tells the usage on standard output, status 0`, async () => {
    const program = keep(netcat(args));
    const output = await program.done();
    expect(program.errors).toBe("");
    expect(output).toStartWith("usage: bun run client.ts");
    for (const option of [
      "async",
      "listen",
      "unix PATH",
      "connect-timeout SECONDS",
      "timeout SECONDS",
      "verbose",
      "help",
    ]) {
      expect(output).toContain(`--${option}`);
    }
    for (const code of [0, 1, 2, 124, 130]) expect(output).toMatch(new RegExp(`\\b${code}\\b`));
  });
}

for (const options of [
  ["--timeout", "9"],
  ["--timeout=0.001"],
  ["--async", "--timeout", "9"],
  ["--timeout", "1e9"],
  ["--timeout", "Infinity", "--connect-timeout", "Infinity"],
  ["--verbose", "--verbose", "--connect-timeout", "3", "--timeout", "9"],
]) {
  test(`an option may stand before the address: ${options.join(" ")}`, async () => {
    const program = keep(netcat([...options, "127.0.0.1", refusedPort()]));
    expect(await program.exited()).toBe(1);
    expect(program.errors).toContain("ECONNREFUSED");
  });
}

test("an option may stand between and behind the address", async () => {
  const port = refusedPort();
  const program = keep(netcat(["127.0.0.1", "--timeout", 9, "--async", port, "--verbose"]));
  expect(await program.exited()).toBe(1);
  expect(program.errors).toContain(`127.0.0.1:${port}`);
});
