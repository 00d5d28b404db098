/**
 * A job of the load generator, and what its modes share: connections, a window of processor time, the server's memory.
 * Separate from `load.ts` because modes with an input of their own are files of their own.
 */
import { connect } from "node:net";
import { cpus } from "node:os";
import process from "node:process";
import type { Payload } from "./body.ts";
import { Connection, type Listener } from "./connection.ts";
import { coreNs, processorNs, residentBytes } from "./measure.ts";

/** What the runner asks for. `path` comes without its `n`, which the mode knows. */
export type Job = {
  mode: "burst" | "paced" | "rung" | "first" | "fairness" | "idle" | "stall" | "gateway";
  port: number;
  /** The server's process, whose processor time and memory are read. */
  pid: number;
  /** Its Redis, whose writes are counted. */
  redisPort?: number;
  /** Where the server expects the source of its paced streams, or the upstream of a gateway. */
  pacerPort: number;
  /** Headers that a gateway wants. */
  headers?: Readonly<Record<string, string>>;
  /** Asks the upstream, and not the gateway before it. */
  asksUpstream?: boolean;
  path: string;
  payload: Payload;
  connections: number;
  n: number;
  warmMs: number;
  ms: number;
};

/**
 * The figures of one run. `loadShare` is the part of its core that the load generator used in the window; `serverShare`
 * and `coreShare` what the server used of its own, and what was used in all: a gap is work in interrupts, or other processes.
 * `loadCoreShare` is the same for the load generator's core, on which a Redis runs too.
 */
export type Figures = Record<string, number>;

export const sleep = (ms: number): Promise<void> =>
  new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Opens connections a hundred at a time, so that no listen backlog overflows. */
export async function open(job: Job, listener: Listener): Promise<Connection[]> {
  const connections: Connection[] = [];
  while (connections.length < job.connections) {
    const batch = Math.min(100, job.connections - connections.length);
    const opened = Array.from({ length: batch }, () => Connection.open(job.port, listener));
    connections.push(...await Promise.all(opened));
  }
  return connections;
}

export const url = (job: Job, n: number = job.n, shape?: string): string =>
  `${shape === undefined ? job.path : job.path.replace(/shape=\w+/, `shape=${shape}`)}&n=${n}`;

export function failed(connections: Connection[]): string | undefined {
  return connections.find((connection) => connection.failure !== undefined)?.failure;
}

/** The runner pins servers to the first core, and what drives them to the last. */
export const SERVER_CORE = 0;
export const LOAD_CORE: number = cpus().length - 1;

/** What a Redis has done so far: entries that were written, and scripts, which write and read them. */
async function redisCalls(port: number | undefined): Promise<{ entries: number; scripts: number }> {
  if (port === undefined) return { entries: 0, scripts: 0 };
  const text = await new Promise<string>((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("INFO commandstats\r\nQUIT\r\n"));
    let reply = "";
    socket.on("data", (data) => reply += data);
    socket.on("close", () => resolve(reply));
    socket.on("error", reject);
  });
  const calls = (name: string) =>
    Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, "m").exec(text)?.[1] ?? 0);
  return { entries: calls("xadd"), scripts: calls("eval") };
}

/** What was used in a window; `entries` and `scripts` are those of a Redis. */
export type Window =
  & Record<"seconds" | "serverNs" | "coreShare" | "loadCoreShare" | "serverShare", number>
  & Record<"loadShare" | "entries" | "scripts", number>;

/** Processor shares over a window: starts when it resolves; `end()` returns what was used until it is called. */
export async function startWindow({ pid, redisPort }: Job): Promise<() => Promise<Window>> {
  const before = await redisCalls(redisPort);
  const [server, core, loadCore] = [processorNs(pid), coreNs(SERVER_CORE), coreNs(LOAD_CORE)];
  const [self, at] = [process.cpuUsage(), performance.now()];
  return async () => {
    const seconds = (performance.now() - at) / 1000;
    const { user, system } = process.cpuUsage(self);
    const serverNs = processorNs(pid) - server;
    const coreShare = (coreNs(SERVER_CORE) - core) / seconds / 1e9;
    const loadCoreShare = (coreNs(LOAD_CORE) - loadCore) / seconds / 1e9;
    const after = await redisCalls(redisPort);
    return {
      seconds,
      serverNs,
      coreShare,
      loadCoreShare,
      serverShare: serverNs / seconds / 1e9,
      loadShare: (user + system) / seconds / 1e6,
      entries: after.entries - before.entries,
      scripts: after.scripts - before.scripts,
    };
  };
}

/** Asks the server to collect its garbage where it can, and lets its memory settle. */
export async function settle(job: Job): Promise<number> {
  process.kill(job.pid, "SIGUSR2");
  await sleep(400);
  return residentBytes(job.pid);
}

/** Some streams to the end first, so that code, pools and heap have their size before memory is compared. */
export async function warm(job: Job, limitMs: number = 5000): Promise<void> {
  let left = 20;
  let done = () => {};
  const over = new Promise<void>((resolve) => done = resolve);
  const connections = await open({ ...job, connections: 50 }, {
    end(connection) {
      if (left-- > 0) connection.send(url(job, 1000, "generator"));
      else done();
    },
  });
  for (const connection of connections) connection.send(url(job, 1000, "generator"));
  await Promise.race([over, sleep(limitMs)]);
  await sleep(200);
  for (const connection of connections) connection.close();
  await sleep(100);
}
