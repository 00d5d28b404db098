/** Two processes of one machine that share a replay file, in each way to start them. */
import { readFileSync } from "node:fs";
import process from "node:process";
import { type Child, type Entry, listening, startChild, startEntry } from "../support/child.ts";
import { HEADERS } from "../support/entry_streams.ts";
import { freePort } from "../support/free_port.ts";
import { startNginx } from "../support/nginx.ts";
import { until } from "../support/serve.ts";

/** What is sent to a process. */
export type Signal = "SIGTERM" | "SIGKILL";

/** Two processes behind one address. */
export interface Site {
  readonly url: string;
  /** Sends a signal to one of them. Resolves when it has ended and another one serves in its place. */
  replace(which: 0 | 1, signal: Signal): Promise<void>;
  /** Kills all at once, and starts all again. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
/** A worker that is told to leave has 10 s of streams before it. */
const REPLACED_MS = 120_000;

/** The ids of the workers: the children of the entry's process. */
export function workersOf({ child }: { child: { pid: number } }): number[] {
  const path = `/proc/${child.pid}/task/${child.pid}/children`;
  return readFileSync(path, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

/** A count of `/metrics`. */
export async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { headers: HEADERS })).text();
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
}

/** `WORKERS=2` on Bun or Node. */
export async function startWorkers(
  runtime: "bun" | "node",
  environment: Record<string, string>,
): Promise<Site> {
  const port = await freePort();
  const start = () => listening(startEntry(runtime, { WORKERS: "2", ...environment }, port));
  let entry: Entry = await start();
  const kill = () => {
    const workers = workersOf(entry);
    entry.child.kill("SIGKILL");
    for (const worker of workers) process.kill(worker, "SIGKILL");
    return entry.child.stop();
  };
  return {
    url: entry.url,
    async replace(which, signal) {
      const worker = workersOf(entry)[which]!;
      const others = new Set(workersOf(entry));
      process.kill(worker, signal);
      await until(
        () => workersOf(entry).some((pid) => !others.has(pid)),
        REPLACED_MS,
        "another worker",
      );
      while (await metric(entry.url, "spillway_workers") < 2) await sleep(50);
    },
    async restart() {
      await kill();
      entry = await start();
    },
    stop: kill,
  };
}

/** Two `deno serve` behind nginx. */
export async function startBehindNginx(environment: Record<string, string>): Promise<Site> {
  const ports = [await freePort(), await freePort()] as const;
  const start = async (which: 0 | 1) =>
    (await listening(startEntry("deno", environment, ports[which]))).child;
  const children = await Promise.all([start(0), start(1)]);
  const nginx = await startNginx(...ports);
  const stop = () => Promise.all(children.map((child) => child.stop()));
  return {
    url: `http://127.0.0.1:${nginx.port}`,
    async replace(which, signal) {
      const child = children[which]!;
      child.kill(signal);
      await until(() => child.exit !== undefined, REPLACED_MS, "its end");
      children[which] = await start(which);
    },
    async restart() {
      await stop();
      children.splice(0, 2, ...await Promise.all([start(0), start(1)]));
    },
    async stop() {
      await nginx.close();
      await stop();
    },
  };
}

/** `deno serve --parallel` with two threads, which is one process. */
export async function startParallel(
  environment: Record<string, string>,
): Promise<{ readonly url: string; readonly child: Child }> {
  const flags = "serve -A --no-check --parallel --host 127.0.0.1 --port 0 lib/server.ts";
  return await listening(startChild("deno", flags.split(" "), {
    ALLOWED_HOSTS: "127.0.0.1",
    DENO_JOBS: "2",
    ...environment,
  }));
}
