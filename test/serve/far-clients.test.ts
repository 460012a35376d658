/** Rule 9 with a round trip of 100 ms between the clients and the server: two network namespaces, and a forwarder. */
import { expect } from "bun:test";
import { keeper } from "../setup.ts";
import { needs, Program, peer, unless } from "../tool.ts";

const keep = keeper();
const ROUND_TRIP = 100;
const STOPS = 10;
const CLIENTS = 16;
/** Seconds: more than a round trip, less than the kernel takes to send a SYN again. */
const PATIENCE = 0.6;

const tools = ["unshare", "ip", "python3"];
const namespaces = ["unshare", "-rnpf", "--kill-child", "python3", "-u", peer("far-away.py")];

/** Null: this machine lets us make namespaces and tun devices. */
function refusal(): string | null {
  if (process.platform !== "linux" || tools.some((tool) => Bun.which(tool) === null)) return null; // `needs` says so
  const { exitCode, stderr } = Bun.spawnSync([...namespaces, "probe"]);
  return exitCode === 0
    ? null
    : `no network namespaces with tun devices here: ${stderr.toString().trim().split("\n").at(-1)}`;
}

const why = refusal();
const here = why === null ? needs(...tools) : unless(why);

here(
  `${STOPS} shutdowns under ${CLIENTS} clients a round trip of ${ROUND_TRIP} ms away: no reset, nobody hangs`,
  async () => {
    const server = [process.execPath, peer("serve-stops.ts"), STOPS, CLIENTS, ROUND_TRIP / 4];
    const clients = ["python3", "-u", peer("impatient.py"), "PORT", CLIENTS, PATIENCE, "10.77.0.1"];
    const program = keep(Program.start([...namespaces, ROUND_TRIP, ...server, "--", ...clients].map(String)));
    const output = (await program.done()).trim().split("\n");
    expect(output.length).toBe(2);
    const { answered, ...lost } = JSON.parse(output[1]!) as Record<string, number>;
    expect(lost).toMatchObject({ reset: 0, hung: 0, unanswered: 0 });
    expect(answered).toBe(Number(output[0]));
  },
);
