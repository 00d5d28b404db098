/**
 * The server as a program: settings, handler, signals. Separate from the two files that start it,
 * `server.ts` and `cli.ts`, because it is what they share; it is the only file that reads the
 * environment.
 */
import { realpathSync } from "node:fs";
import process from "node:process";
import { inspect } from "node:util";
import { createHandler, type FullHandlerOptions } from "../full_handler.ts";
import { apiKeyAuth } from "../handler/api_keys.ts";
import { BODY_LIMITS } from "../handler/body.ts";
import { STREAM_LIMITS } from "../handler/stream_limit.ts";
import { TOGETHER, type Together, type TogetherOptions } from "../handler/together.ts";
import { asEcho } from "../sources/echo.ts";
import { paced } from "../sources/paced.ts";
import { BUN_CONNECTIONS, connectionsLimit } from "./connections.ts";
import { filesFor, fittingLimits, maxOpenFiles } from "./descriptors.ts";
import { listenReason } from "./failures.ts";
import {
  type Address,
  type Fetch,
  IDLE_TIMEOUT_S,
  listen,
  onDenoServeFailures,
  runtimeName,
} from "./listen.ts";
import { checkLog, createLog, temporaryFile } from "./log.ts";
import type { Drain } from "./messages.ts";
import { openOutput, type Output } from "./output.ts";
import { type Parent, parentOfWorker, workerStarter } from "./processes.ts";
import { help, readSettings, type Settings, type StartedBy } from "./settings.ts";
import { onOrphaned, onSignals, type Program, shutDown } from "./signals.ts";
import { startOf } from "./start.ts";
import { createStreamLog, droppedLine, type Start, type StreamLog } from "./stream_log.ts";
import { Supervisor } from "./supervisor.ts";
import { sourceOf, upstreamsOf } from "./upstreams.ts";
import { VERSION } from "./version.ts";
import { Worker } from "./worker.ts";
import { workersOf } from "./workers.ts";

/** What `deno serve` and `Bun.serve` take. */
export interface Entry extends Address {
  readonly fetch: Fetch;
  /** In seconds; only Bun reads it. */
  readonly idleTimeout: number;
  /** Called by `deno serve` when it listens. */
  readonly onListen: (address: Address) => void;
}

/** What the reference page says of the API on top. */
const DESCRIPTION =
  "A language model's answers as streams of tokens, for the client of each API. " +
  "A stream that was cut off can be resumed with `Last-Event-ID`, and stopped from anywhere.";

/** Ends the process with one line that says what is wrong. */
function fail(message: string): never {
  console.error(`spillway: ${message}`);
  process.exit(1);
}

/** The arguments of the command line. */
export function commandLine(): string[] {
  return process.argv.slice(2);
}

/** Whether standard output is a terminal that shows colours. */
export function hasColours(): boolean {
  const { NO_COLOR, TERM } = process.env;
  return process.stdout.isTTY === true && !NO_COLOR && TERM !== "dumb";
}

/** Lets the process end with this exit code, when nothing is left to do. */
export function endWith(exitCode: number): void {
  process.exitCode = exitCode;
}

/** Whether a module is the one that the process was started with. */
export function isMain({ main, filename }: { main?: boolean; filename?: string }): boolean {
  // Node says so from 24.2 on.
  const [, script] = process.argv;
  return main ?? (script !== undefined && realpathSync(script) === filename);
}

/** What is known before a handler is made; whoever only starts workers makes none. */
interface Setup {
  readonly settings: Settings;
  readonly streamLog: StreamLog;
  readonly source: NonNullable<FullHandlerOptions["source"]>;
  /** How many processes serve. */
  readonly workers: number;
  /** What one of them takes. */
  readonly limits: NonNullable<FullHandlerOptions["limits"]>;
  readonly allowedHosts: readonly string[];
  /** What is said of the server at an address. Adds to `allowedHosts` what is served there. */
  readonly start: (address: Address) => Start;
}

/** Reads the settings. Ends the process where one is wrong, or the help is asked for. */
function setUp(startedBy: StartedBy, args: string[]): Setup {
  const settings = read(args, startedBy);
  const { corsOrigins, corsCredentials, apiKeys, maxStreams } = settings;
  if (corsCredentials && (corsOrigins.length === 0 || corsOrigins.includes("*"))) {
    fail("CORS_CREDENTIALS is on, and CORS_ORIGINS names no origins");
  }
  const style = settings.log;
  const [output, errors] = ([1, 2] as const).map((fd) =>
    openOutput(fd, (lines) => droppedLine(style, lines))
  ) as [Output, Output];
  const streamLog = createStreamLog({
    style,
    colour: hasColours(),
    print: (text) => output.print(text),
    printError: (error) => errors.print(typeof error === "string" ? error : inspect(error)),
  });
  const [upstreams, source, workers] = orFail(() => {
    const upstreams = upstreamsOf(settings);
    const workers = workersOf(settings);
    checkLog(settings);
    return [upstreams, sourceOf(settings, upstreams), workers] as const;
  });
  const files = maxOpenFiles();
  // A relayed stream has a connection to its upstream as well.
  const perStream = upstreams.length > 0 ? 2 : 1;
  // Each has its share, so that together they keep the limits.
  const share = (limit: number) => Math.max(1, Math.floor(limit / workers));
  const wanted = { maxStreams: share(maxStreams), maxBodies: share(BODY_LIMITS.maxBodies) };
  const fitting = fittingLimits(wanted, files, perStream);
  const limit = fitting.maxStreams < wanted.maxStreams
    ? `MAX_STREAMS is ${maxStreams}, but ${files} open files are enough for ` +
      `${workers * fitting.maxStreams}; ulimit -n ${
        filesFor(wanted.maxStreams, perStream)
      } allows them`
    : undefined;
  const connections = upstreams.length === 0
    ? undefined
    : connectionsLimit(runtimeName, fitting.maxStreams, process.env[BUN_CONNECTIONS]);
  const allowedHosts = [...settings.allowedHosts];

  return {
    settings,
    streamLog,
    source: upstreams.length === 0 ? asEcho(paced(source)) : paced(source),
    workers,
    limits: {
      ...fitting,
      maxStreamsPerOwner: share(STREAM_LIMITS.maxStreamsPerOwner),
      maxBodyBytes: settings.maxBodyBytes,
      maxChatBodyBytes: settings.maxChatBodyBytes,
    },
    allowedHosts,
    start: (address) =>
      startOf(address, {
        allowedHosts,
        upstreams,
        workers,
        wantsKey: apiKeys.length > 0,
        replay: settings.replayFile,
        ...limit === undefined ? {} : { limit },
        ...connections === undefined ? {} : { connections },
      }),
  };
}

/** Makes the handler of this process, alone or together with others. */
async function createProgram(
  { settings, streamLog, source, limits, allowedHosts }: Setup,
  together?: Together,
): Promise<Program> {
  const { corsOrigins, corsCredentials, apiKeys } = settings;
  let log: Awaited<ReturnType<typeof createLog>>;
  try {
    log = await createLog(settings, streamLog.failed);
  } catch (error) {
    return fail((error as Error).message);
  }
  const options: FullHandlerOptions & TogetherOptions = {
    log,
    ...together ? { [TOGETHER]: together } : {},
    source,
    info: { version: VERSION, description: DESCRIPTION },
    ...settings.openaiBaseUrl ? { model: settings.openaiModel } : {},
    heartbeatMs: settings.heartbeatMs,
    commitAfterMs: settings.commitAfterMs,
    limits,
    ...corsOrigins.length > 0 ? { cors: corsOrigins, corsCredentials } : {},
    allowedHosts,
    disconnect: { continueForMs: settings.disconnectGraceMs },
    ...apiKeys.length > 0 ? { authorize: apiKeyAuth(apiKeys) } : {},
    onClose: streamLog.closed,
    onError: streamLog.failed,
  };
  const close = () => "close" in log ? log.close().catch(streamLog.failed) : undefined;
  return { handler: createHandler(options), close };
}

/** Its shell takes the signals that npm hands on for itself, and leaves the server behind. */
function followShell(parentEnded: () => void): void {
  const script = process.env.npm_lifecycle_script ?? "";
  const isCommand = /(?<![\w./-])spillway(?![\w./-])/.test(script);
  // Those commands start what is to stay.
  if (isCommand && !/\b(?:nohup|setsid)\b/.test(script)) onOrphaned(parentEnded);
}

/**
 * Makes what `deno serve` serves, or another program that imports it, and handles the signals of the
 * process. Ends the process where a setting is wrong, or the help is asked for.
 */
export async function createEntry(startedBy: StartedBy, args: string[]): Promise<Entry> {
  const setup = setUp(startedBy, args);
  const { settings, streamLog, start } = setup;
  const { hostname, port } = settings;
  const program = await createProgram(setup);
  const { handler } = program;
  const isDeno = startedBy === "deno serve";
  let stop = (): unknown => undefined;
  const end = (timeoutMs: number, delayMs: number) =>
    void shutDown(program, {
      timeoutMs,
      delayMs,
      stop: () => stop(),
      // `deno serve` exits when it has stopped.
      exit: () => isDeno ? undefined : process.exit(0),
    });
  const { parentEnded } = onSignals(
    () => end(settings.drainTimeoutMs, settings.drainDelayMs),
    () => end(0, 0),
  );
  followShell(parentEnded);

  let address: Address = { hostname, port };
  if (isDeno) {
    onDenoServeFailures({
      cannotListen: (error) =>
        // Its flags for the address stand before the file.
        fail(
          `cannot listen: ${listenReason(error, address.hostname)}`
            .replace("PORT or --port", "--port before the file")
            .replace("HOST", "--host before the file"),
        ),
      outOfFiles: async (error) => {
        streamLog.failed(new Error("Stopped listening, and tries again", { cause: error }));
        for (;;) {
          try {
            ({ stop } = await listen(handler.fetch, address, streamLog.failed));
            return;
          } catch {
            await new Promise((resolve) => setTimeout(resolve, 500));
          }
        }
      },
    });
  }
  return {
    fetch: handler.fetch,
    hostname,
    port,
    idleTimeout: IDLE_TIMEOUT_S,
    onListen: (listening) => {
      address = listening;
      streamLog.listening(start(listening));
    },
  };
}

/**
 * Serves, and says so: in this process, or in as many workers as the settings want. Ends the process
 * where a setting is wrong, or the help is asked for.
 */
export async function serve(startedBy: StartedBy, args: string[]): Promise<Address> {
  const setup = setUp(startedBy, args);
  const parent = process.env[WORKER] === undefined ? undefined : await parentOfWorker();
  if (setup.workers > 1 && parent === undefined) return await serveInWorkers(setup);
  return await serveHere(setup, parent);
}

/** Serves in this process, alone or as a worker of `parent`. */
async function serveHere(setup: Setup, parent: Parent | undefined): Promise<Address> {
  const { settings, streamLog, start } = setup;
  const { hostname, port, drainTimeoutMs, drainDelayMs } = settings;
  let program: Program | undefined = undefined;
  let stop = (): unknown => undefined;
  const exit = () => {
    worker?.finish();
    process.exit(0);
  };
  const end = (timeoutMs: number, delayMs: number) => {
    if (program === undefined) exit();
    else void shutDown(program, { timeoutMs, delayMs, stop: () => stop(), exit });
  };
  const drain = (how: Drain) => {
    if (how === "now") return end(0, 0);
    // The others take its clients.
    if (how === "alone") stop();
    end(drainTimeoutMs, how === "alone" ? 0 : drainDelayMs);
  };
  const worker = parent && new Worker(parent, drain);
  const replayFile = process.env[WORKER_FILE] ?? settings.replayFile;
  program = await createProgram({ ...setup, settings: { ...settings, replayFile } }, worker);
  const { parentEnded } = onSignals(
    () => worker === undefined ? drain("all") : worker.leave(),
    () => drain("now"),
  );
  if (worker === undefined) followShell(parentEnded);
  const address = {
    hostname,
    port: worker === undefined ? port : Number(process.env[WORKER]),
  };
  try {
    const server = await listen(
      program.handler.fetch,
      address,
      streamLog.failed,
      worker !== undefined,
    );
    stop = server.stop;
    const said = start(server);
    if (worker === undefined) streamLog.listening(said);
    else worker.listening({ hostname: server.hostname, port: server.port });
    return server;
  } catch (error) {
    return fail((error as Error).message);
  }
}

/** The variable that tells a worker the port. */
const WORKER = "SPILLWAY_WORKER_PORT";
/** The variable that tells a worker the temporary file, where the settings name no log. */
const WORKER_FILE = "SPILLWAY_WORKER_FILE";
/** How long workers have to end after their time, in ms, before they are killed. */
const LATE_MS = 2000;

/** Starts workers, and ends with the last of them. */
async function serveInWorkers({ settings, streamLog, workers, start }: Setup): Promise<Address> {
  const { hostname, drainTimeoutMs, drainDelayMs } = settings;
  const port = await freePort(settings);
  const environment: NodeJS.ProcessEnv = { ...process.env, [WORKER]: String(port) };
  if (!settings.replayFile && !settings.redisUrl) {
    const file = temporaryFile();
    process.on("exit", file.remove);
    environment[WORKER_FILE] = file.path;
  }
  const supervisor = new Supervisor({
    workers,
    start: await workerStarter(environment),
    onError: streamLog.failed,
  });
  const end = (how: "all" | "now", ms: number) => {
    supervisor.drain(how);
    setTimeout(() => supervisor.kill(), ms + LATE_MS);
  };
  const { parentEnded } = onSignals(
    () => end("all", drainDelayMs + drainTimeoutMs),
    () => end("now", 0),
  );
  followShell(parentEnded);
  let exitCode = 0;
  supervisor.over.then(() => process.exit(exitCode));
  const address = await supervisor.start();
  if (address === undefined) {
    exitCode = 1; // It was said why the worker could not begin.
    return { hostname, port };
  }
  streamLog.listening(start(address));
  return address;
}

/** The port of the settings, which nobody else uses: workers share theirs, with strangers as well. */
async function freePort({ hostname, port }: Settings): Promise<number> {
  try {
    const server = await listen(() => Promise.reject(new Error()), { hostname, port }, () => {});
    await server.stop();
    return server.port;
  } catch (error) {
    return fail((error as Error).message);
  }
}

/** What `decide` returns. Ends the process with the message of what it throws. */
function orFail<T>(decide: () => T): T {
  try {
    return decide();
  } catch (error) {
    return fail((error as Error).message);
  }
}

function read(args: string[], startedBy: StartedBy): Settings {
  const settings = orFail(() => readSettings(args, process.env, startedBy));
  if (settings !== undefined) return settings;
  console.log(help(startedBy));
  return process.exit(0);
}
