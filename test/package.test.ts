import { afterAll, expect, setDefaultTimeout } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import * as ffi from "../ffi/index.ts";
import * as product from "../src/index.ts";
import { temporaryDirectory } from "./setup.ts";
import { needs, Program } from "./tool.ts";

setDefaultTimeout(120_000);
const root = fileURLToPath(new URL("..", import.meta.url));
let directory: ReturnType<typeof temporaryDirectory> | undefined;
afterAll(() => directory?.[Symbol.dispose]());

async function run(cwd: string, ...argv: string[]): Promise<string> {
  await using program = Program.start(argv, { cwd });
  return await program.done();
}

interface Packed {
  /** The paths in the tarball, less npm's `package/`. */
  files: string[];
  /** An application that has installed the tarball and nothing else. */
  app: string;
  /** The installed package. */
  home: string;
}

/** Packs a copy: `prepack` writes into the tree, where other tests and people are at work. */
async function packAndInstall(): Promise<Packed> {
  directory = temporaryDirectory();
  const [copy, app] = [join(directory.path, "copy"), join(directory.path, "app")];
  const left = [".git", "node_modules", "types"].map((name) => join(root, name));
  cpSync(root, copy, { recursive: true, filter: (source) => !left.includes(source) });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  await run(copy, "npm", "pack", "--pack-destination", directory.path);
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const tarball = join(directory.path, `cancelfd-${version}.tgz`);

  mkdirSync(app);
  writeFileSync(join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  await run(app, "npm", "install", "--offline", "--no-audit", "--no-fund", tarball);
  const listed = (await run(app, "tar", "tzf", tarball)).trimEnd().split("\n");
  return {
    files: listed.map((file) => file.replace(/^package\//, "")),
    app,
    home: join(app, "node_modules", "cancelfd"),
  };
}

let result: Promise<Packed> | undefined;
const packed = (): Promise<Packed> => {
  result ??= packAndInstall();
  return result;
};
const packageTest = needs("npm", "node", "tar");

packageTest("the package is the sources, their declarations, and what a reader expects; no tests", async () => {
  const { files } = await packed();
  for (const file of ["package.json", "README.md", "CHANGELOG.md", "LICENSE"]) expect(files).toContain(file);
  const others = files.filter(
    (file) => !/^(src|ffi|examples)\/.*\.ts$|^docs\/.*\.md$|^types\/(src|ffi)\/.*\.d\.ts$/.test(file),
  );
  expect(others.toSorted()).toEqual(["CHANGELOG.md", "LICENSE", "README.md", "only-bun.mjs", "package.json"]);
  const links = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/\]\(([a-z][^):]*)\)/g)].map(
    ([, to]) => to!,
  );
  expect(links.length).toBeGreaterThan(5);
  for (const link of links) expect(files).toContain(link);
  expect(files.filter((file) => /test|bench|fixture|node_modules/.test(file))).toEqual([]);
});

packageTest("declarations are in types/ alone, and each has its source", async () => {
  const { files } = await packed();
  const declarations = files.filter((file) => file.endsWith(".d.ts"));
  expect(declarations.filter((file) => !file.startsWith("types/"))).toEqual([]);
  expect(declarations.length).toBeGreaterThan(10);
  for (const file of declarations) expect(files).toContain(file.replace(/^types\/(.*)\.d\.ts$/, "$1.ts"));
});

packageTest("every path in `exports` is in the package, and types come first", async () => {
  const { files, home } = await packed();
  const { exports, type } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as {
    exports: Record<string, string | Record<string, string>>;
    type: string;
  };
  expect(type).toBe("module");
  for (const entry of Object.values(exports)) {
    if (typeof entry === "string") {
      expect(files).toContain(entry.slice(2));
      continue;
    }
    // The first condition that holds wins: `default` holds everywhere, and TypeScript honours more than `types`.
    expect(Object.keys(entry)).toEqual(["types", "bun", "default"]);
    for (const path of Object.values(entry)) {
      expect(path).toStartWith("./");
      expect(files).toContain(path.slice(2));
    }
  }
});

packageTest("nothing that a declaration leads to needs bun:ffi, or any other package", async () => {
  const { home } = await packed();
  const seen = new Set<string>();
  const missing: string[] = [];
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const text = readFileSync(file, "utf8");
    expect({ file, text }).toEqual({ file, text: expect.not.stringContaining("bun:ffi") });
    expect({ file, text }).toEqual({ file, text: expect.not.stringMatching(/<reference\s|import\("[^.]/) });
    for (const [, target] of text.matchAll(/(?:from|import)\s*\(?"([^"]+)"/g)) {
      expect({ file, target }).toEqual({ file, target: expect.stringMatching(/^\.\.?\/.*\.ts$/) });
      const path = join(dirname(file), target!.replace(/\.ts$/, ".d.ts"));
      if (existsSync(path)) visit(path);
      else missing.push(`${relative(home, file)} → ${target}`);
    }
  };
  visit(join(home, "types/src/index.d.ts"));
  visit(join(home, "types/ffi/index.d.ts"));
  expect(missing).toEqual([]);
  expect(seen.size).toBeGreaterThan(10);
});

/** A program of a user's. Its lib has no console, so it says itself what it takes of it. */
const consumer = `
import {
  CancelledError, CancelSource, connectSync, type InetAddress, listen, serveThreads, SystemError, type TcpListener,
  type TcpSocket, TimeoutError, type UnixAddress, type WaitOptions, type When,
} from "cancelfd";
import { Epoll, EPOLLIN, EventFd, type InetAddress as Address, SystemError as Refusal } from "cancelfd/ffi";
declare const console: { log(text: string): void };

using listener: TcpListener = listen({ hostname: "127.0.0.1", port: undefined, backlog: 5 });
const address: InetAddress = listener.address;
const same: Address = address;
const never: When = null;
const options: WaitOptions = { timeout: 5000, cancel: undefined };
using client: TcpSocket = connectSync({ hostname: same.address, port: address.port, ...options });
using server = listener.acceptSync({ timeout: 5000 });
client.setDeadline(never);
client.writevSync([new Uint8Array([104, 101, 108, 108, 111]), new Uint8Array([32])]);
client.writeSync("world");
client.closeWrite();

const buffer = new Uint8Array(64);
let text = "";
for (let count: number; (count = server.readSync(buffer, options)) > 0; ) {
  text += String.fromCharCode(...buffer.subarray(0, count));
}
console.log(text);

const start = (module: Parameters<typeof serveThreads>[0]): [InetAddress, UnixAddress] => [
  serveThreads(module, { listen: { port: 0 } }).address,
  serveThreads(module, { listen: { path: "/run/never-called" } }).address,
];
console.log(typeof start);

const source = new CancelSource();
using child: CancelSource = source.child();
source.cancel("enough");
try {
  server.writeSync("never sent", { cancel: child });
} catch (error) {
  if (!(error instanceof CancelledError)) throw error;
  console.log(\`cancelled: \${error.cause}\`);
}
try {
  client.readSync(buffer, { timeout: 1 });
} catch (error) {
  if (!(error instanceof TimeoutError)) throw error;
  console.log(error.timeout ? "deadline passed" : "");
}
try {
  listen({ hostname: "127.0.0.1", port: address.port });
} catch (error) {
  if (!(error instanceof SystemError) || !(error instanceof Refusal)) throw error;
  const { code, errno, syscall, port }: { code: string; errno: number; syscall: string; port?: number } = error;
  if (code !== "EADDRINUSE" || errno >= 0 || syscall !== "bind" || port !== address.port) throw error;
}

using epoll = new Epoll();
using bell = new EventFd(1);
epoll.add(bell.fd, EPOLLIN);
bell.write(2n);
for (const { data } of epoll.wait(8, 0)) console.log(\`\${data === bell.fd ? bell.read() : "no"} rings\`);
`;

for (const [module, moduleResolution] of [
  ["esnext", "bundler"],
  ["preserve", "bundler"],
  ["nodenext", "nodenext"],
]) {
  packageTest(`a strict consumer without any @types compiles: ${module}, resolved by ${moduleResolution}`, async () => {
    const { app } = await packed();
    const strict = {
      strict: true,
      skipLibCheck: false,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
    };
    const compilerOptions = {
      target: "esnext",
      lib: ["esnext"],
      types: [],
      module,
      moduleResolution,
      noEmit: true,
      ...strict,
    };
    writeFileSync(join(app, "consumer.ts"), consumer);
    writeFileSync(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["consumer.ts"] }));
    await run(app, process.execPath, join(root, "node_modules", "typescript", "bin", "tsc"), "-p", ".");
  });
}

packageTest("the consumer runs with Bun", async () => {
  const { app } = await packed();
  writeFileSync(join(app, "consumer.ts"), consumer);
  expect(await run(app, process.execPath, "consumer.ts")).toBe(
    "hello world\nfunction\ncancelled: enough\ndeadline passed\n3 rings\n",
  );
});

packageTest("the installed entry points export what the sources do", async () => {
  const { app } = await packed();
  for (const [entry, module] of [
    ["cancelfd", product],
    ["cancelfd/ffi", ffi],
  ] as const) {
    const script = `console.log(JSON.stringify(Object.keys(await import("${entry}"))))`;
    const names = JSON.parse(await run(app, process.execPath, "-e", script)) as string[];
    expect(names.toSorted()).toEqual(Object.keys(module).toSorted());
  }
});

packageTest("under Node.js both entry points say that they need Bun, and how to get it", async () => {
  const { app } = await packed();
  for (const entry of ["cancelfd", "cancelfd/ffi"]) {
    for (const script of [`import("${entry}")`, `new Promise(() => require("${entry}"))`]) {
      const said = await run(app, "node", "-e", `${script}.catch((error) => console.log(error.message))`);
      expect(said).toMatch(/^cancelfd runs on Bun only: .*npm install bun.*bun run.*\n$/);
    }
  }
});
