/**
 * `bun bench/one_machine.ts`: what a replay file costs, and what a second worker brings. Separate from the cases
 * because it measures the server entry as well, and a server of several processes.
 *
 * - `SqliteLog` against `MemoryLog` in one program, by turns: bursts, and 1,000 paced streams. How long the log has
 *   held the event loop.
 * - The entry with `WORKERS=1` and `WORKERS=2`, on all cores, beside the load: bursts, and paced streams.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Figures } from "./job.ts";
import { processorNs, spread } from "./measure.ts";
import { load, PROGRAMS, ROOT, withServer } from "./server.ts";
import { pathOf, type Runtime, type Subject } from "./subjects.ts";

const ROUNDS = Number(process.env.ROUNDS ?? 3);
const WANTED = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "spillway-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const isWanted = (name: string) =>
  WANTED.length === 0 || WANTED.some((word) => name.includes(word));

function tell(name: string, values: readonly number[], digits = 2): string {
  const { median, min, max } = spread(values);
  return `${name} ${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}

type Times = { p50: number; p99: number; longest: number };
type Holds = { startMs: number; openMs: number; count: number; wall: Times; thread: Times };

/** One program with both logs, measured by turns. */
async function logs(runtime: Runtime): Promise<void> {
  const subject: Subject = {
    name: "logs",
    runtime,
    file: "spillway_one_machine.ts",
    kind: "own",
    payload: "token",
    shapes: ["generator"],
    cases: [],
  };
  const common = { payload: "token", n: 1000, warmMs: 1000, ms: 1500 } as const;
  for (const mode of ["burst", "paced"] as const) {
    if (!isWanted(`logs ${runtime} ${mode}`)) continue;
    const figures: Record<string, Figures[]> = { memory: [], sqlite: [] };
    const held: Holds[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (const name of round % 2 === 0 ? ["memory", "sqlite"] : ["sqlite", "memory"]) {
        const REPLAY_FILE = join(folder, `${runtime}-${mode}-${round}-${name}.db`);
        await withServer(
          subject,
          async (where) => {
            const path = name === "memory" ? "/memory" : "/";
            const shape = mode === "burst" ? "generator" : "paced";
            const job = mode === "burst"
              ? { ...common, mode, connections: 64 }
              : { ...common, mode, connections: 1000, warmMs: 2500, ms: 2500 };
            figures[name]!.push(
              await load({
                ...job,
                ...where,
                path: path + pathOf(subject, shape, "json").slice(1),
              }),
            );
            const response = await fetch(`http://127.0.0.1:${where.port}/holds`);
            if (name === "sqlite") held.push(await response.json() as Holds);
          },
          ROOT,
          { REPLAY_FILE },
        );
      }
    }
    for (const [name, rounds] of Object.entries(figures)) {
      const of = (key: string) => rounds.map((round) => round[key]!);
      console.log(
        mode === "burst"
          ? `${runtime} burst, ${name}: ${tell("ns a token", of("nsPerToken"), 0)}, ${
            tell("million tokens a second", of("tokensPerSecond").map((each) => each / 1e6))
          }, ${tell("load's share of its core", of("loadShare"))}`
          : `${runtime} paced 1000, ${name}: ${tell("p50 ms", of("p50"))}, ${
            tell("p99 ms", of("p99"))
          }, ${tell("µs a token", of("usPerToken"))}, ${tell("delivered", of("deliveredShare"))}`,
      );
    }
    const of = (key: "startMs" | "openMs" | "count") => held.map((each) => each[key]);
    const times = (clock: "wall" | "thread") =>
      (["p50", "p99", "longest"] as const)
        .map((key) => tell(`${key} ms`, held.map((each) => each[clock][key]))).join(", ");
    console.log(
      `${runtime} ${mode}: the log holds the loop for ${times("wall")}; in processor time ${
        times("thread")
      }; ${tell("turns", of("count"), 0)}, ${tell("at the start ms", of("startMs"))}, ${
        tell("to open a new file ms", of("openMs"))
      }`,
    );
  }
}

/** What clients of the entry ask for: `everyMs` is the pace of a stream. */
const LOADS = {
  "bursts, 64": { connections: 64, everyMs: 0 },
  "paced, 1000": { connections: 1000, everyMs: 20 },
};
type Load = keyof typeof LOADS;
const TOKENS = 1000;
const REQUEST = (() => {
  const body = JSON.stringify({ query: "t".repeat(TOKENS) });
  return `POST /streaming HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`;
})();
/** A response is chunked, or, where it was made in one turn, of a known length. */
const END = /"completed"[^\n]*\n\n(\r\n0\r\n\r\n)?$/;

interface Socket {
  write(text: string): number;
  terminate(): void;
}
declare const Bun: { connect(options: object): Promise<Socket> };

/** What a token is on the wire, at the least. */
const TOKEN = "data: {";

/**
 * Asks a port again and again on many connections. `edge` is called when the window begins and when it ends. Returns the
 * tokens of the window, its seconds, and its own share of a core.
 */
async function ask(
  port: number,
  connections: number,
  warmMs: number,
  ms: number,
  edge: () => void,
): Promise<[number, number, number]> {
  let tokens = 0;
  const connect = () => {
    let tail = "";
    return Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data(socket: Socket, chunk: Uint8Array) {
          const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
          // A paced token is a chunk of its own; a burst's last one tells of all.
          if (connections === LOADS["paced, 1000"].connections) {
            for (let at = text.indexOf(TOKEN); at >= 0; at = text.indexOf(TOKEN, at + 1)) tokens++;
          }
          tail = (tail + text.subarray(-100).toString("latin1")).slice(-100);
          if (!END.test(tail)) return;
          tail = "";
          if (connections !== LOADS["paced, 1000"].connections) tokens += TOKENS;
          socket.write(REQUEST);
        },
        error() {},
      },
    });
  };
  const sockets: Socket[] = [];
  for (let left = connections; left > 0; left -= 50) {
    const some = await Promise.all(Array.from({ length: Math.min(50, left) }, connect));
    for (const socket of some) socket.write(REQUEST);
    sockets.push(...some);
  }
  await sleep(warmMs);
  edge();
  const [from, fromMs, self] = [tokens, performance.now(), process.cpuUsage()];
  await sleep(ms);
  edge();
  const seconds = (performance.now() - fromMs) / 1000;
  const { user, system } = process.cpuUsage(self);
  for (const socket of sockets) socket.terminate();
  return [tokens - from, seconds, (user + system) / 1e6 / seconds];
}

/** A process and its children. */
function family(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean)
  );
  return [pid, ...children.map(Number)];
}

/** The entry's figures under a load. */
async function workers(
  runtime: Runtime,
  { connections, everyMs }: (typeof LOADS)[Load],
  count: number,
  log: string,
): Promise<Figures> {
  const port = 18_900 + Math.floor(Math.random() * 90);
  const child = spawn(PROGRAMS[runtime]!, ["lib/server.ts"], {
    cwd: ROOT,
    env: {
      ...process.env,
      PORT: `${port}`,
      WORKERS: `${count}`,
      TOKEN_DELAY_MS: `${everyMs}`,
      LOG: "off",
      KEEP_MS: "5000",
      DRAIN_TIMEOUT_MS: "100",
      ...log === "file" ? { REPLAY_FILE: join(folder, `${runtime}-${count}-${port}.db`) } : {},
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await new Promise<void>((resolve) => child.stdout!.once("data", () => resolve()));
    let windowMs = 0;
    let each: number[] = [];
    let fromMs = 0;
    const used = () => family(child.pid!).map(processorNs);
    const [tokens, seconds, loadShare] = await ask(port, connections, 2000, 2500, () => {
      if (fromMs === 0) {
        each = used();
        fromMs = performance.now();
      } else {
        const now = used();
        each = now.map((ns, i) => ns - each[i]!);
        windowMs = performance.now() - fromMs;
      }
    });
    const ns = each.reduce((sum, one) => sum + one);
    return {
      tokensPerSecond: tokens / seconds,
      nsPerToken: ns / tokens,
      serverShare: ns / 1e6 / windowMs,
      busiest: Math.max(...each) / 1e6 / windowMs,
      loadShare,
    };
  } finally {
    child.kill("SIGTERM");
    await new Promise((resolve) => child.once("exit", resolve));
  }
}

async function allWorkers(runtime: Runtime, name: Load): Promise<void> {
  const kinds: [number, string][] = [[1, "none"], [1, "file"], [2, "file"]];
  const figures = kinds.map(() => [] as Figures[]);
  for (let round = 0; round < ROUNDS; round++) {
    const order = round % 2 === 0 ? [0, 1, 2] : [2, 1, 0];
    for (const i of order) figures[i]!.push(await workers(runtime, LOADS[name], ...kinds[i]!));
  }
  for (const [i, [count, log]] of kinds.entries()) {
    const of = (key: string) => figures[i]!.map((round) => round[key]!);
    console.log(
      `${runtime} entry, ${name}, ${count === 1 ? "1 worker" : "2 workers"}, ${
        log === "none" ? "log in memory" : "replay file"
      }: ${tell("ns a token", of("nsPerToken"), 0)}, ${
        tell("million tokens a second", of("tokensPerSecond").map((each) => each / 1e6), 3)
      }, ${tell("cores of the server", of("serverShare"))}, ${
        tell("of its busiest process", of("busiest"))
      }, ${tell("of the load", of("loadShare"))}`,
    );
  }
}

for (const runtime of ["bun", "deno", "node"] as const) {
  await logs(runtime);
  if (runtime === "deno") continue;
  for (const load of Object.keys(LOADS) as Load[]) {
    if (isWanted(`workers ${runtime} ${load}`)) await allWorkers(runtime, load);
  }
}
process.exit(0);
