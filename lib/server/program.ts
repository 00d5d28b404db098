/**
 * The server as a program: settings, handler, signals. Separate from the two files that start it,
 * `server.ts` and `cli.ts`, because it is what they share; it is the only file that reads the
 * environment.
 */
import { accessSync, constants, readFileSync, realpathSync } from "node:fs";
import process from "node:process";
import { inspect } from "node:util";
import { createHandler, type FullHandlerOptions } from "../full_handler.ts";
import { apiKeyAuth } from "../handler/api_keys.ts";
import { BODY_LIMITS } from "../handler/body.ts";
import { bunRedis, nodeRedis, type NodeRedisClient } from "../replay/redis/clients.ts";
import { RedisLog, type RedisLogOptions } from "../replay/redis/redis_log.ts";
import { SqliteLog } from "../replay/sqlite/sqlite_log.ts";
import { asEcho, echo } from "../sources/echo.ts";
import { openai, type OpenAIUpstream } from "../sources/openai.ts";
import { paced } from "../sources/paced.ts";
import { parseJson } from "../values.ts";
import { filesFor, fittingLimits, maxOpenFiles } from "./descriptors.ts";
import { fileReason, listenReason, redisFailure } from "./failures.ts";
import {
  type Address,
  type Fetch,
  IDLE_TIMEOUT_S,
  listen,
  onDenoServeFailures,
  RedisClient,
} from "./listen.ts";
import { openOutput, type Output } from "./output.ts";
import { help, readSettings, type Settings, type StartedBy } from "./settings.ts";
import { onOrphaned, onSignals } from "./signals.ts";
import { createStreamLog, droppedLine } from "./stream_log.ts";

/** The server, ready to listen. */
export interface Program {
  /** The default export for `deno serve`, and for programs that serve it themselves. */
  readonly entry: Entry;
  /** Listens, and says so. */
  readonly listen: () => Promise<Address>;
}

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
/** The names of the loopback address, as `Host` and URLs have them. */
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

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

/**
 * Makes the server from the environment and `args`, the arguments of the command line, and handles
 * the signals of the process. Ends the process where a setting is wrong, or the help is asked for.
 */
export async function createProgram(startedBy: StartedBy, args: string[]): Promise<Program> {
  const settings = read(args, startedBy);
  const { hostname, port, corsOrigins, corsCredentials, apiKeys, maxStreams } = settings;
  if (corsCredentials && (corsOrigins.length === 0 || corsOrigins.includes("*"))) {
    fail("CORS_CREDENTIALS is on, and CORS_ORIGINS names no origins");
  }
  const allowedHosts = [...settings.allowedHosts];
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
  const log = await sharedLog(settings, streamLog.failed);
  const upstreams = upstreamsOf(settings);
  const source = paced(sourceOf(settings, upstreams));
  const files = maxOpenFiles();
  // A relayed stream has a connection to its upstream as well.
  const perStream = upstreams.length > 0 ? 2 : 1;
  const { maxBodies } = BODY_LIMITS;
  const fitting = fittingLimits({ maxStreams, maxBodies }, files, perStream);
  const handler = createHandler({
    ...log ? { log } : {},
    source: upstreams.length === 0 ? asEcho(source) : source,
    info: { description: DESCRIPTION },
    ...settings.openaiBaseUrl ? { model: settings.openaiModel } : {},
    heartbeatMs: settings.heartbeatMs,
    commitAfterMs: settings.commitAfterMs,
    limits: {
      ...fitting,
      maxBodyBytes: settings.maxBodyBytes,
      maxChatBodyBytes: settings.maxChatBodyBytes,
    },
    ...corsOrigins.length > 0 ? { cors: corsOrigins, corsCredentials } : {},
    allowedHosts,
    disconnect: { continueForMs: settings.disconnectGraceMs },
    ...apiKeys.length > 0 ? { authorize: apiKeyAuth(apiKeys) } : {},
    onClose: streamLog.closed,
    onError: streamLog.failed,
  });

  function announce({ hostname, port }: Address): void {
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    const isLocal = LOOPBACK.includes(host) || hostname.startsWith("127.");
    // Bound to loopback, only its own names are served: a page elsewhere may point its name here.
    if (isLocal && allowedHosts.length === 0) allowedHosts.push(...new Set([...LOOPBACK, host]));
    const everywhere = hostname === "0.0.0.0" || hostname === "::";
    const name = everywhere ? "127.0.0.1" : host;
    streamLog.listening({
      url: `http://${name}:${port}`,
      everywhere,
      source: upstreams.length === 0
        ? "echo"
        : `relay to ${
          upstreams.map(({ baseURL, model }) => `${new URL(baseURL).host}, model ${model}`)
            .join("; if that fails, to ")
        }`,
      wantsKey: apiKeys.length > 0,
      isOpen: !isLocal && apiKeys.length === 0,
      ...settings.replayFile ? { replay: settings.replayFile } : {},
      ...fitting.maxStreams < maxStreams
        ? {
          limit: `MAX_STREAMS is ${maxStreams}, but ${files} open files are enough for ` +
            `${fitting.maxStreams}; ulimit -n ${filesFor(maxStreams, perStream)} allows them`,
        }
        : {},
      ...allowedHosts.length > 0 && !allowedHosts.includes(name) ? { host: allowedHosts[0]! } : {},
    });
  }

  let stop = (): unknown => undefined;
  /** Takes no new streams after `delayMs`, and leaves the open ones `timeoutMs` to end. */
  async function shutDown(timeoutMs: number, delayMs: number): Promise<void> {
    await handler.drain({ timeoutMs, delayMs });
    // The last bytes written have yet to be sent; no connection delays the exit for longer than this.
    setTimeout(() => process.exit(0), 500);
    await stop();
    // `deno serve` stops by itself, and exits when it has.
    if (startedBy !== "deno serve") process.exit(0);
  }
  const { parentEnded } = onSignals(
    () => void shutDown(settings.drainTimeoutMs, settings.drainDelayMs),
    () => void shutDown(0, 0),
  );
  // Its shell takes the signals that npm hands on for itself, and leaves the server behind.
  if (/^['"]?spillway\b/.test(process.env.npm_lifecycle_script ?? "")) onOrphaned(parentEnded);

  let address: Address = { hostname, port };
  if (startedBy === "deno serve") {
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
  const entry: Entry = {
    fetch: handler.fetch,
    hostname,
    port,
    idleTimeout: IDLE_TIMEOUT_S,
    onListen: (listening) => {
      address = listening;
      announce(listening);
    },
  };
  return {
    entry,
    listen: async () => {
      try {
        const server = await listen(handler.fetch, address, streamLog.failed);
        stop = server.stop;
        announce(server);
        return server;
      } catch (error) {
        return fail((error as Error).message);
      }
    },
  };
}

function read(args: string[], startedBy: StartedBy): Settings {
  try {
    const settings = readSettings(args, process.env, startedBy);
    if (settings !== undefined) return settings;
  } catch (error) {
    return fail((error as Error).message);
  }
  console.log(help(startedBy));
  return process.exit(0);
}

/** The upstreams that are set, in the order in which they are asked; none is the echo. */
function upstreamsOf(settings: Settings): OpenAIUpstream[] {
  const { openaiBaseUrl: baseURL, openaiApiKey: apiKey, openaiModel: model } = settings;
  const { openaiFallback: fallback, openaiFields: fields } = settings;
  if (!baseURL) {
    const name = apiKey
      ? "OPENAI_API_KEY"
      : model
      ? "OPENAI_MODEL"
      : fallback
      ? "OPENAI_FALLBACK"
      : undefined;
    if (name === undefined) return [];
    return fail(
      `${name} is set, and OPENAI_BASE_URL is missing; set it to relay, as ` +
        `https://api.openai.com/v1, or unset ${name} for the echo`,
    );
  }
  if (!model) {
    return fail("OPENAI_BASE_URL is set, and OPENAI_MODEL is missing; set the name of a model");
  }
  return [
    { baseURL, model, ...apiKey ? { apiKey } : {}, ...fields ? { fields } : {} },
    ...fallback ? upstreamsIn(fallback) : [],
  ];
}

/** The upstreams in a file. */
function upstreamsIn(path: string): OpenAIUpstream[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    return fail(`OPENAI_FALLBACK: ${fileReason(error, path)}`);
  }
  const upstreams = parseJson(text);
  if (Array.isArray(upstreams) && upstreams.length > 0) return upstreams as OpenAIUpstream[];
  // What JSON.parse says of a file may repeat a key in it.
  return fail(
    `OPENAI_FALLBACK: the file is ${upstreams === undefined ? "no JSON" : "no list of upstreams"}` +
      `; it has to be like [{ "baseURL": "https://...", "model": "..." }]`,
  );
}

/** The variables of the options that an upstream has. */
const VARIABLES: Readonly<Record<string, string>> = {
  baseURL: "OPENAI_BASE_URL",
  apiKey: "OPENAI_API_KEY",
  model: "OPENAI_MODEL",
  fields: "OPENAI_FIELDS",
};

/** The relay of these upstreams, or the echo if there are none. */
function sourceOf(
  settings: Settings,
  upstreams: readonly OpenAIUpstream[],
): NonNullable<FullHandlerOptions["source"]> {
  const [first, ...fallback] = upstreams;
  if (first === undefined) return echo({ delayMs: settings.tokenDelayMs });
  const quiet = settings.openaiStreamOptions ? {} : { stream_options: undefined };
  const options = {
    ...first,
    body: quiet,
    headTimeoutMs: settings.openaiHeadTimeoutMs,
    firstTokenTimeoutMs: settings.openaiFirstTokenTimeoutMs,
    tokenTimeoutMs: settings.openaiTokenTimeoutMs,
    answerTimeoutMs: settings.openaiAnswerTimeoutMs,
    fallbackTimeoutMs: settings.openaiFallbackTimeoutMs,
    retries: settings.openaiRetries,
  };
  let variable = "OPENAI_BASE_URL, OPENAI_API_KEY or OPENAI_MODEL: ";
  try {
    const source = openai(options);
    if (fallback.length === 0) return source;
    variable = "OPENAI_FALLBACK: ";
    openai({ ...options, fallback });
    // Only an upstream that was checked can be given further fields.
    const all = fallback.map((upstream) => ({ ...upstream, body: { ...quiet, ...upstream.body } }));
    return openai({ ...options, fallback: all });
  } catch (error) {
    // The message names the option and holds neither the key nor the URL.
    const reason = (error as Error).message.replace("Cannot create the source: ", "");
    const named = reason.replace(/^(?:baseURL|apiKey|model|fields)\b/, (name) => VARIABLES[name]!);
    return fail(named === reason ? variable + reason : named);
  }
}

/** The log that several processes share, if a file or a Redis is set. */
function sharedLog(
  { replayFile, redisUrl, redisPrefix }: Settings,
  onError: (error: unknown) => void,
): SqliteLog | undefined | Promise<RedisLog> {
  if (replayFile && redisUrl) fail("REPLAY_FILE and REDIS_URL are both set, and one log is used");
  if (replayFile) return sqliteLog(replayFile, onError);
  if (!redisUrl) return undefined;
  return redisLog(redisUrl, {
    prefix: redisPrefix,
    onError: async (error) => onError(await redisFailure(error, redisUrl)),
  });
}

function sqliteLog(path: string, onError: (error: unknown) => void): SqliteLog {
  try {
    accessSync(path.replace(/[^/\\]*$/, "") || ".", constants.W_OK);
  } catch (error) {
    fail(`REPLAY_FILE: cannot write to its folder (${(error as { code?: unknown }).code})`);
  }
  try {
    return new SqliteLog(path, { onError });
  } catch (error) {
    return fail(`REPLAY_FILE: ${(error as Error).message}`);
  }
}

/** A log in Redis: with Bun's own client, else with the package `redis`. */
async function redisLog(url: string, options: RedisLogOptions): Promise<RedisLog> {
  try {
    if (RedisClient) return new RedisLog(bunRedis(new RedisClient(url)), options);
    // An optional peer dependency: not resolved unless it is needed.
    const name = "redis";
    const { createClient } = await import(name) as {
      createClient(options: { url: string }): NodeRedisClient;
    };
    const client = createClient({ url });
    client.on("error", () => {});
    return new RedisLog(nodeRedis(client), options);
  } catch (error) {
    // The error's message may repeat the URL, and the URL may hold a password.
    const { code } = error as { code?: unknown };
    const missing = code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
    return fail(
      `REDIS_URL: ${
        missing
          ? "this runtime has no Redis client of its own; npm install redis"
          : "no Redis client takes it; it has to be like redis://user:password@host:6379"
      }`,
    );
  }
}
