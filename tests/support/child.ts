/**
 * Other processes, on the same runtime or another one: a crash, an exit and a resident size can only be
 * seen from outside. They start at the project's root.
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { ActiveCounts } from "../../lib/counters.ts";
import { runtimeName, until } from "./serve.ts";

/** The project's root, with a slash at its end. */
export const root: string = fileURLToPath(new URL("../..", import.meta.url));

/** How long a process may take for what it does not promise to do in time. */
export const PATIENCE_MS = 30_000;

/** A process that was started. */
export interface Child {
  readonly pid: number;
  output: string;
  errors: string;
  /** Its exit code, or the signal that ended it; `undefined` while it runs. */
  exit: number | string | undefined;
  kill(signal: "SIGTERM" | "SIGINT" | "SIGKILL"): void;
  /** Ends it, if it has not, and waits. */
  stop(): Promise<void>;
}

/** What a developer may have set, and what would change every test of the server. */
const UNSET = {
  OPENAI_API_KEY: "",
  OPENAI_BASE_URL: "",
  OPENAI_FALLBACK: "",
  OPENAI_MODEL: "",
  REDIS_URL: "",
  REPLAY_FILE: "",
  WORKERS: "",
};

/** The runtimes that start a file of `lib/`. */
export const RUNTIMES = ["bun", "deno", "node"] as const;

/** The program of a runtime. */
export function fileOf(runtime: (typeof RUNTIMES)[number]): string {
  return runtime === runtimeName ? process.execPath : `${root}node_modules/.bin/${runtime}`;
}

const running = new Set<number>();

// A test that failed may have left them.
process.on("exit", () => {
  for (const pid of running) process.kill(pid, "SIGKILL");
});

/** Starts `command` with `args`. */
export function startChild(
  command: "bun" | "deno" | "node" | "npm" | "sh",
  args: string[],
  environment: Record<string, string> = {},
): Child {
  const file = command === "npm" || command === "sh" ? command : fileOf(command);
  const child = spawn(file, args, {
    cwd: root,
    env: { ...process.env, ...UNSET, NO_COLOR: "1", ...environment },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const started: Child = {
    pid: child.pid ?? 0,
    output: "",
    errors: "",
    exit: undefined,
    kill: (signal) => {
      // By its id: `child.kill` on Deno 2.9 takes the signal for the reason of whatever end follows.
      if (started.exit === undefined) process.kill(child.pid!, signal);
    },
    stop: async () => {
      started.kill("SIGKILL");
      await until(() => started.exit !== undefined, PATIENCE_MS, `${command} ended`);
    },
  };
  child.stdout.setEncoding("utf8").on("data", (data) => started.output += data);
  child.stderr.setEncoding("utf8").on("data", (data) => started.errors += data);
  child.on("error", (error) => started.errors += error.message);
  if (child.pid !== undefined) running.add(child.pid);
  child.on("exit", () => running.delete(child.pid!));
  child.on("close", (code, signal) => started.exit = code ?? signal ?? "error");
  return started;
}

/**
 * How Deno runs a file of `tests/`: with the project's settings, of which it would otherwise see nothing
 * beyond `tests/package.json`.
 */
export const DENO_RUN: readonly string[] = ["run", "-A", "--no-check", "--config", "deno.json"];

/** Starts a file of the project on the runtime that runs the test. */
export function startScript(path: string, ...args: string[]): Child {
  if (runtimeName === "bun") return startChild("bun", [path, ...args]);
  return runtimeName === "deno"
    ? startChild("deno", [...DENO_RUN, "--v8-flags=--expose-gc", path, ...args])
    : startChild("node", ["--expose-gc", path, ...args]);
}

/** The server entry, started as a user does. */
export interface Entry {
  readonly child: Child;
  readonly url: string;
  readonly port: number;
}

/** Starts the entry on a runtime; `port` 0 is any free one. */
export function startEntry(
  runtime: "bun" | "deno" | "node",
  environment: Record<string, string> = {},
  port = 0,
  flags: string[] = [],
  host = "127.0.0.1",
): Child {
  return runtime !== "deno"
    ? startChild(runtime, ["lib/server.ts", ...flags], { PORT: String(port), ...environment })
    : startChild("deno", [
      ...`serve -A --no-check --host ${host} --port`.split(" "),
      String(port),
      "lib/server.ts",
      ...flags,
    ], environment);
}

const LISTENS = /(?:listens on |"event":"listening","url":")(http:\/\/127\.0\.0\.1:(\d+))/;

/** Waits until an entry says where it listens. */
export async function listening(child: Child): Promise<Entry> {
  await until(
    () => LISTENS.test(child.output) || child.exit !== undefined,
    PATIENCE_MS,
    `a start-up line: ${child.output} ${child.errors}`,
  );
  const [, url, port] = LISTENS.exec(child.output) ?? [];
  if (url === undefined) throw new Error(`No start-up line: ${child.output} ${child.errors}`);
  return { child, url, port: Number(port) };
}

/** What `tests/support/child/server.ts` says of itself. */
export interface Report {
  active: ActiveCounts;
  rssBytes: number;
  /** Live objects, after a collection. */
  heapBytes: number;
  /** How many streams ended so, as `cancelled disconnected`. */
  closes: Record<string, number>;
  /** What was reported to `onError`, as text. */
  reported: string[];
  /** Tokens that sources made. */
  pulled: number;
  /** `send` calls that were answered, by answer. */
  answers: { true: number; false: number };
  /** Sources whose signal aborted, and whose `finally` ran. */
  aborted: number;
  finished: number;
}

/** A server of scenes in a process of its own. */
export interface SceneServer {
  readonly port: number;
  readonly child: Child;
  report(): Promise<Report>;
  /** What it says as soon as it says that `holds`, or after a while. */
  reported(holds: (report: Report) => boolean): Promise<Report>;
  /** What it says when no stream is left. */
  emptied(): Promise<Report>;
  /** Fetches a path and answers its text. */
  text(path: string): Promise<string>;
}

/** Starts `tests/support/child/server.ts` and warms it up. */
export async function startScenes(): Promise<SceneServer> {
  const child = startScript("tests/support/child/server.ts");
  await until(() => /^port \d+$/m.test(child.output), PATIENCE_MS, `a server: ${child.errors}`);
  const port = Number(/^port (\d+)$/m.exec(child.output)?.[1]);
  const text = async (path: string) =>
    await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
  const server: SceneServer = {
    port,
    child,
    text,
    report: async () => JSON.parse(await text("/report")) as Report,
    reported: async (holds) => {
      let report = await server.report();
      for (const fromMs = performance.now(); !holds(report);) {
        if (performance.now() - fromMs > PATIENCE_MS) break;
        await new Promise((resolve) => setTimeout(resolve, 5));
        report = await server.report();
      }
      return report;
    },
    emptied: () => server.reported(({ active }) => total(active) === 0),
  };
  for (let i = 0; i < 20; i++) await text("/hello");
  return server;
}

/** The sum of all counters. */
export function total(active: ActiveCounts): number {
  return Object.values(active).reduce((sum, count) => sum + count, 0);
}
