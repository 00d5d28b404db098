/**
 * The processes of a run: a subject's server pinned to the first core, the load generator pinned to the last.
 * Runtimes are resolved to their real programs first, for an npm launcher would be the process that gets measured.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { tokens } from "./inputs.ts";
import { type Figures, type Job, LOAD_CORE, SERVER_CORE } from "./job.ts";
import type { Runtime, Subject } from "./subjects.ts";

/** The folder of this checkout: subjects are started from it, unless a caller names another checkout. */
export const ROOT: string = fileURLToPath(new URL("..", import.meta.url));

/** Output of a program, `undefined` if it cannot be run. */
export function output(program: string, ...args: string[]): string | undefined {
  try {
    const stdio: ["ignore", "pipe", "pipe"] = ["ignore", "pipe", "pipe"];
    return execFileSync(program, args, { encoding: "utf8", cwd: ROOT, stdio }).trim();
  } catch {
    return undefined; // not installed: the caller leaves the subject out and says so
  }
}

function resolve(name: string, ...expression: string[]): string | undefined {
  const local = join(ROOT, "node_modules", ".bin", name);
  return output(existsSync(local) ? local : name, ...expression);
}

/** The real programs, `undefined` where one is not installed. */
export const PROGRAMS: Record<Runtime, string | undefined> = {
  bun: resolve("bun", "-e", "console.log(process.execPath)"),
  deno: resolve("deno", "eval", "console.log(Deno.execPath())"),
  node: resolve("node", "-p", "process.execPath"),
  python: [process.env["PYTHON"] ?? "/usr/bin/python3", "python3"].find((program) =>
    output(program, "-c", "import fastapi, uvicorn, uvloop, httptools") !== undefined
  ),
  nginx: ["nginx", "/usr/sbin/nginx"].find((program) => output(program, "-v") !== undefined),
};

/** Redis itself, `undefined` where it is not installed. */
export const REDIS: string | undefined = ["redis-server", "/usr/bin/redis-server"]
  .find((program) => output(program, "--version") !== undefined);

const isPinned = output("taskset", "--version") !== undefined && cpus().length > 1;

/** How processes are kept apart, for the report. */
export const PINNING: string = isPinned
  ? `taskset: server on core ${SERVER_CORE}, load generator on core ${LOAD_CORE}`
  : "none: no taskset, or a single core";

function pinned(core: number, program: string, args: string[]): [string, string[]] {
  return isPinned ? ["taskset", ["-c", String(core), program, ...args]] : [program, args];
}

/** Files of subjects: the corpus for Python, the body and configuration for nginx, what a log writes. */
const folder = mkdtempSync(join(tmpdir(), "spillway-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const corpusFile = join(folder, "corpus.json");
writeFileSync(corpusFile, JSON.stringify(tokens(1000)));

function nginxArguments(port: number): string[] {
  const root = join(folder, "nginx");
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, "body"), tokens(1000).map((token) => `data: ${token}\n\n`).join(""));
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${root}/${name};`).join(" ");
  writeFileSync(
    join(root, "nginx.conf"),
    `daemon off; master_process off; pid ${root}/pid; error_log stderr;
    events { worker_connections 20000; }
    http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; ${temporary}
      open_file_cache max=8; default_type text/event-stream;
      server { listen 127.0.0.1:${port}; root ${root}; location / { try_files /body =404; } } }`,
  );
  return ["-p", root, "-c", join(root, "nginx.conf")];
}

/** The program of a subject, relative to a checkout; nginx has none. */
export function programOf({ file }: Pick<Subject, "file">, checkout: string): string {
  return join(checkout, "bench", "peers", file);
}

type Program = Pick<Subject, "runtime" | "file" | "portArgument">;

function command(
  subject: Program,
  port: number,
  checkout: string,
): [string, string[]] {
  const program = PROGRAMS[subject.runtime];
  if (program === undefined) throw new Error(`${subject.runtime} is not installed`);
  const file = programOf(subject, checkout);
  const argument = subject.portArgument === undefined ? [] : [`${subject.portArgument}${port}`];
  switch (subject.runtime) {
    case "bun":
    case "python":
      return [program, [file]];
    case "node":
      return [program, ["--expose-gc", file, ...argument]];
    case "deno":
      return [program, ["run", "-A", "--v8-flags=--expose-gc", file]];
    case "nginx":
      return [program, nginxArguments(port)];
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() =>
        resolve(typeof address === "object" && address !== null ? address.port : 0)
      );
    });
    probe.on("error", reject);
  });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const answer = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", () => answer(true));
    socket.once("error", () => answer(false));
  });
}

const live = new Set<ChildProcess>();
process.on("exit", () => live.forEach((child) => child.kill("SIGKILL")));

function start(core: number, program: string, args: string[], env: Env = {}, cwd: string = ROOT) {
  const child = spawn(...pinned(core, program, args), {
    cwd,
    env: { ...process.env, NODE_ENV: "production", ...env } as NodeJS.ProcessEnv,
    stdio: ["ignore", "pipe", "pipe"],
  });
  live.add(child);
  let [out, errors] = ["", ""];
  child.stdout.on("data", (chunk: Uint8Array) => out += new TextDecoder().decode(chunk));
  child.stderr.on("data", (chunk: Uint8Array) => {
    errors = (errors + new TextDecoder().decode(chunk)).slice(-2000);
  });
  const ended = new Promise<void>((resolve) => {
    const over = () => {
      live.delete(child);
      resolve();
    };
    child.once("close", over);
    child.once("error", over);
  });
  return { child, ended, out: () => out, errors: () => errors };
}

/** Where a subject runs, and its Redis if it has one. */
export type Where = Pick<Job, "port" | "pid" | "redisPort" | "pacerPort">;
type Env = Record<string, string>;

/**
 * Starts a subject with all that it needs, hands its place to `use`, and ends it whatever happens. The subject's
 * program is that of `checkout`; upstream, pacer and load generator are always those of this one.
 */
export async function withServer<T>(
  subject: Subject,
  use: (where: Where) => Promise<T>,
  checkout: string = ROOT,
  more: Env = {},
): Promise<T> {
  const pacerPort = await freePort();
  const paced = { PACER: String(pacerPort), ...more };
  const serve = (env: Env, redisPort?: number) =>
    withProcess(subject, SERVER_CORE, { ...paced, ...env }, (where) => {
      return use({ ...where, pacerPort, ...(redisPort === undefined ? {} : { redisPort }) });
    }, checkout);
  if (subject.relays !== undefined) {
    return await withProcess(
      UPSTREAM,
      LOAD_CORE,
      {},
      ({ port }) => serve({ UPSTREAM: urlOf(port) }),
    );
  }
  if (subject.redis === undefined) return await serve({});
  return await withRedis((redisPort) => {
    const env = { REDIS: `redis://127.0.0.1:${redisPort}` };
    if (subject.redis === "writes") return serve(env, redisPort);
    return withProcess(subject, LOAD_CORE, { ...paced, ...env }, ({ port }) => {
      return serve({ ...env, PRODUCER: urlOf(port) }, redisPort);
    }, checkout);
  });
}

const UPSTREAM = { name: "upstream", runtime: "bun", file: "../upstream.ts" } as const;

function urlOf(port: number): string {
  return `http://127.0.0.1:${port}`;
}

async function withRedis<T>(use: (port: number) => Promise<T>): Promise<T> {
  const port = await freePort();
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  return await whileItRuns("redis-server", start(LOAD_CORE, REDIS!, args), port, () => use(port));
}

async function withProcess<T>(
  subject: Program & Pick<Subject, "name">,
  core: number,
  env: Env,
  use: (where: Pick<Where, "port" | "pid">) => Promise<T>,
  checkout: string = ROOT,
): Promise<T> {
  const port = await freePort();
  const [program, args] = command(subject, port, checkout);
  const its = { PORT: String(port), CORPUS: corpusFile, FOLDER: folder, ...env };
  const server = start(core, program, args, its, checkout);
  return await whileItRuns(subject.name, server, port, (pid) => use({ port, pid }));
}

async function whileItRuns<T>(
  name: string,
  server: ReturnType<typeof start>,
  port: number,
  use: (pid: number) => Promise<T>,
): Promise<T> {
  try {
    for (const until = Date.now() + 10_000; !await accepts(port);) {
      if (Date.now() > until || server.child.exitCode !== null) {
        throw new Error(`${name} did not start: ${server.errors().trim().slice(-400)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return await use(server.child.pid!);
  } finally {
    server.child.kill("SIGKILL");
    await server.ended;
  }
}

/** Runs a script to its end and returns the JSON of its last line. */
async function figures(
  core: number,
  program: string,
  args: string[],
  limitMs: number,
  checkout: string = ROOT,
): Promise<Figures> {
  const run = start(core, program, args, {}, checkout);
  const timer = setTimeout(() => run.child.kill("SIGKILL"), limitMs);
  await run.ended;
  clearTimeout(timer);
  const last = run.out().trim().split("\n").at(-1) ?? "";
  if (!last.startsWith("{")) {
    throw new Error(`no answer within ${limitMs} ms: ${run.errors().trim().slice(-400)}`);
  }
  const answer = JSON.parse(last) as Record<string, number | null> & { error?: string };
  if (answer.error !== undefined) throw new Error(answer.error);
  // JSON has no NaN: a figure that could not be had, for nothing was delivered, is none.
  return Object.fromEntries(
    Object.entries(answer).filter((entry): entry is [string, number] => entry[1] !== null),
  );
}

/** Runs the load generator, always under Bun. */
export function load(job: Job): Promise<Figures> {
  if (PROGRAMS.bun === undefined) throw new Error("the load generator needs bun: npm install");
  const limitMs = job.warmMs + job.ms + 60_000;
  return figures(
    LOAD_CORE,
    PROGRAMS.bun,
    [join(ROOT, "bench", "load.ts"), JSON.stringify(job)],
    limitMs,
  );
}

/** Runs a subject that measures itself (the codec), on the server's core. */
export function script(
  subject: Subject,
  more: readonly string[],
  checkout: string = ROOT,
): Promise<Figures> {
  const [program, args] = command(subject, 0, checkout);
  return figures(SERVER_CORE, program, [...args, ...more], 60_000, checkout);
}
