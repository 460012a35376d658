/**
 * `npm test` after the type check and the linter: every way to wait, two runs at a time, as tests wait more than they work.
 * What a run prints (its failures) comes when it is over. Status 1 if one has failed.
 */
interface Run {
  env: Record<string, string>;
  files: string[];
}

const runs: Run[] = [
  { env: { CANCELFD_BACKEND: "epoll", CANCELFD_LOOP: "watch" }, files: [] },
  { env: { CANCELFD_BACKEND: "poll" }, files: [] },
  {
    env: { CANCELFD_BACKEND: "epoll", CANCELFD_LOOP: "worker" },
    files: ["test/promise/", "test/conformance/", "test/serve/"],
  },
];
const AT_ONCE = 2;

let failed = false;

async function lane(): Promise<void> {
  for (let run: Run | undefined; (run = runs.shift()) !== undefined; ) {
    const { env, files } = run;
    // Far beyond what any test takes: a busy machine is no failure.
    const argv = [process.execPath, "test", "--only-failures", "--timeout", "60000", ...files];
    const name = [...Object.entries(env).map(([key, value]) => `${key}=${value}`), "bun test", ...files].join(" ");
    console.log(`begins: ${name}`);
    const child = Bun.spawn(argv, { env: { ...process.env, ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [errors, output] = await Promise.all([new Response(child.stderr).text(), new Response(child.stdout).text()]);
    const status = await child.exited;
    failed ||= status !== 0;
    console.log(`\n${name}\n${output}${errors}${status === 0 ? "" : `status ${child.signalCode ?? status}\n`}`);
  }
}

await Promise.all(Array.from({ length: AT_ONCE }, lane));
process.exit(failed ? 1 : 0);
