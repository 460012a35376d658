/** Real lookups, by libc's resolver, of a name server that answers, refuses or stays silent, in a private network. */
import { expect } from "bun:test";
import { keeper } from "./setup.ts";
import { needs, Program, peer, unless } from "./tool.ts";

const keep = keeper();

const tools = ["unshare", "ip", "mount", "python3"];

function whyNot(): string | null {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  const { exitCode, stderr } = Bun.spawnSync(["unshare", "-rnmpf", "--mount-proc", "true"]);
  return exitCode === 0 ? null : `no namespaces for this user: ${stderr.toString().trim()}`;
}
const installed = tools.every((tool) => Bun.which(tool) !== null);
const inPrivateNetwork = installed ? unless(whyNot()) : needs(...tools);

/** What a scenario of peers/lookups.ts printed. The resolver waits so many seconds for an answer, and does not ask again. */
async function run<T>(scenario: string, patience: number, ...args: string[]): Promise<T> {
  const namespaces = ["unshare", "-rnmpf", "--kill-child", "--mount-proc"];
  const server = ["sh", peer("with-name-server.sh"), `timeout:${patience} attempts:1`];
  const command = [process.execPath, peer("lookups.ts"), scenario, ...args];
  return JSON.parse(await keep(Program.start([...namespaces, ...server, ...command])).done()) as T;
}
interface Failure {
  name: string;
  code: string;
  syscall?: string;
  address?: string;
  took: number;
}

inPrivateNetwork("a name with two addresses connects to the one that answers", async () => {
  expect(await run<string>("found", 5)).toBe("127.0.0.2");
});

inPrivateNetwork("a name that does not exist is ENOTFOUND of getaddrinfo", async () => {
  expect(await run<Failure>("missing", 5)).toMatchObject({
    name: "SystemError",
    code: "ENOTFOUND",
    syscall: "getaddrinfo",
    address: "nobody.test",
  });
});

inPrivateNetwork(
  "a name server that never answers is ENOTFOUND in the end, and says that it did not answer",
  async () => {
    const failure = await run<Failure & { message: string }>("unanswered", 1);
    expect(failure).toMatchObject({ code: "ENOTFOUND", syscall: "getaddrinfo", address: "slow.test" });
    expect(failure.message).toContain("did not answer");
  },
);

inPrivateNetwork(
  "a lookup without an answer times out with the connect, and does not hold up the process's end",
  async () => {
    const begin = Date.now();
    const failure = await run<Failure>("timeout", 25);
    expect(failure).toMatchObject({ name: "TimeoutError", code: "ERR_TIMEOUT" });
    expect(failure.took).toBeGreaterThanOrEqual(100);
    expect(Date.now() - begin).toBeLessThan(15_000);
  },
);

inPrivateNetwork("a lookup without an answer is cancelled from another thread", async () => {
  const { outcome, took } = await run<{ outcome: object; took: number }>("cancel", 25);
  expect(outcome).toEqual({ name: "AbortError", cause: "enough" });
  expect(took).toBeLessThan(10_000);
});

inPrivateNetwork("once libc has given up on abandoned lookups, no descriptor of them is left", async () => {
  expect(await run<string>("leftovers", 1)).toBe("nothing");
});

inPrivateNetwork("600 abandoned lookups do not hold up a healthy one, nor its descriptors", async () => {
  const { code, took, descriptors } = await run<{ code: string; took: number; descriptors: number }>("crowd", 1, "600");
  expect(code).toBe("ECONNREFUSED"); // found, and dialled
  expect(descriptors).toBeLessThan(200);
  expect(took).toBeLessThan(5000);
});
