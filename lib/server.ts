/**
 * The server that `bun run server` and `deno serve` both start: the only file that reads the
 * environment, and the only one that knows which runtime it is on.
 */
import process from "node:process";
import { createHandler, type FullHandlerOptions } from "./full_handler.ts";
import { apiKeyAuth } from "./handler/api_keys.ts";
import { help, readSettings, type Settings } from "./server/settings.ts";
import { RedisLog } from "./replay/redis/redis_log.ts";
import {
  bunRedis,
  type BunRedisClient,
  nodeRedis,
  type NodeRedisClient,
} from "./replay/redis/clients.ts";
import { echo } from "./sources/echo.ts";
import { openai } from "./sources/openai.ts";
import { createStreamLog } from "./server/stream_log.ts";

/** What the servers of the two runtimes have in common. */
interface Listening {
  hostname?: string;
  port?: number;
  stop?(): unknown;
}

interface Bun {
  serve(options: unknown): Listening;
  RedisClient: new (url: string) => BunRedisClient;
}

const bun = (globalThis as { Bun?: Bun }).Bun;
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

function fail(message: string): never {
  console.error(`spillway: ${message}`);
  process.exit(1);
}

/**
 * Reads the settings from the environment, and from the flags unless they belong to another
 * program.
 */
function read(): Settings {
  const listener = bun ? "bun" : "deno serve";
  const args = import.meta.main ? process.argv.slice(2) : [];
  let settings: Settings | undefined;
  try {
    settings = readSettings(args, process.env, listener);
  } catch (error) {
    return fail((error as Error).message);
  }
  if (settings !== undefined) return settings;
  console.log(help(listener));
  return process.exit(0);
}

/** The upstream if one is set, else the echo. */
function source(): NonNullable<FullHandlerOptions["source"]> {
  const { openaiBaseUrl: baseURL, openaiApiKey: apiKey, openaiModel: model } = settings;
  if (!baseURL) return echo({ delayMs: settings.tokenDelayMs });
  if (!model) return fail("OPENAI_MODEL is missing, and OPENAI_BASE_URL is set");
  try {
    return openai({ baseURL, model, ...apiKey ? { apiKey } : {} });
  } catch (error) {
    // The message names the option and holds neither the key nor the URL.
    return fail(`OPENAI_BASE_URL, OPENAI_API_KEY or OPENAI_MODEL: ${(error as Error).message}`);
  }
}

/**
 * The log that all machines share, if a Redis is set: with Bun's own client, else with the package
 * `redis`.
 */
async function sharedLog(url: string): Promise<RedisLog | undefined> {
  if (url === "") return undefined;
  try {
    if (bun) return new RedisLog(bunRedis(new bun.RedisClient(url)));
    // An optional peer dependency: not resolved unless it is needed.
    const name = "redis";
    const { createClient } = await import(name) as {
      createClient(options: { url: string }): NodeRedisClient;
    };
    const client = createClient({ url });
    client.on("error", () => {});
    return new RedisLog(nodeRedis(client));
  } catch (error) {
    // The error's message may repeat the URL, and the URL may hold a password.
    const { code } = error as { code?: unknown };
    const missing = code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
    return fail(
      `REDIS_URL: ${missing ? "npm install redis" : "cannot create a Redis client from it"}`,
    );
  }
}

const settings = read();
const { hostname, port, corsOrigins } = settings;
const allowedHosts = [...settings.allowedHosts];
const streamLog = createStreamLog({
  style: settings.log,
  colour: process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb",
  print: (text) => console.log(text),
});

const log = await sharedLog(settings.redisUrl);
const handler = createHandler({
  ...log ? { log } : {},
  source: source(),
  ...settings.openaiBaseUrl ? { model: settings.openaiModel } : {},
  heartbeatMs: settings.heartbeatMs,
  commitAfterMs: settings.commitAfterMs,
  limits: { maxStreams: settings.maxStreams },
  ...corsOrigins.length > 0 ? { cors: corsOrigins } : {},
  allowedHosts,
  disconnect: { continueForMs: settings.disconnectGraceMs },
  ...settings.apiKeys.length > 0 ? { authorize: apiKeyAuth(settings.apiKeys) } : {},
  onClose: streamLog.closed,
});

let listening: Listening | undefined;

function announce(server: Listening): void {
  listening = server;
  // Bound to loopback, only its own names are served: a page elsewhere may point its name here.
  const loopback = server.hostname !== undefined && LOOPBACK.includes(server.hostname);
  if (loopback && allowedHosts.length === 0) allowedHosts.push(...LOOPBACK);
  const wildcard = server.hostname === "0.0.0.0" || server.hostname === "::";
  const host = wildcard ? "127.0.0.1" : server.hostname;
  streamLog.listening(
    `http://${host?.includes(":") ? `[${host}]` : host}:${server.port}`,
    wildcard,
  );
}

/** Takes no new streams, and leaves the open ones `timeoutMs` to end. */
async function shutDown(timeoutMs: number): Promise<void> {
  await handler.drain({ timeoutMs });
  // The last bytes written have yet to be sent; no connection delays the exit for longer than this.
  setTimeout(() => process.exit(0), 500);
  await listening?.stop?.();
  if (bun) process.exit(0);
}
let asked = false;
process.on("SIGINT", () => shutDown(0));
process.on("SIGTERM", () => {
  // A second signal leaves open streams no more time.
  shutDown(asked ? 0 : settings.drainTimeoutMs);
  asked = true;
});

/** The default export, for `deno serve` and `Bun.serve`. */
interface Entry extends Listening {
  fetch(request: Request, info?: unknown): Promise<Response>;
  idleTimeout: number;
  onListen(address: Listening): void;
}

const entry: Entry = {
  fetch: handler.fetch,
  port,
  hostname,
  /**
   * How long Bun keeps a connection without a request, in seconds; the handler lifts it for each
   * request.
   */
  idleTimeout: 30,
  /** Called by Deno when it listens. */
  onListen: announce,
};

function serveOnBun(): Listening {
  try {
    // Without a word Bun shares the port of a server that is not in development: half of the clients
    // that come back would meet a process that has never heard of their stream.
    const server = bun!.serve({ ...entry, development: false, reusePort: false });
    announce(server);
    return server;
  } catch (error) {
    return fail(`cannot listen on ${hostname}:${port}: ${(error as Error).message}`);
  }
}

// Deno serves the default export itself. Bun would too, but without reporting its address. So Bun's
// server is started here and exported: Bun does not serve an export that is a server already.
const served: Entry | Listening = bun && import.meta.main ? serveOnBun() : entry;
export default served;
