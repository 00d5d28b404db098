/**
 * The server that `bun run server` and `deno serve` both start: the only file that reads the
 * environment, and the only one that knows which runtime it is on.
 */
import process from "node:process";
import { createHandler, type HandlerOptions } from "./handler.ts";
import { echo } from "./sources/echo.ts";
import { openai } from "./sources/openai.ts";

/** What the two runtimes' servers have in common. */
interface Listening {
  hostname?: string;
  port?: number;
  stop?(): unknown;
}

const bun = (globalThis as { Bun?: { serve(options: unknown): Listening } }).Bun;
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

function fail(message: string): never {
  console.error(`spillway: ${message}`);
  process.exit(1);
}

function number(name: string, fallback: number, min: number, max: number, orOff = false): number {
  const text = process.env[name] ?? "";
  if (text === "") return fallback;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  if (orOff && text === "0") return 0;
  const bounds = `${orOff ? "0 or " : ""}an integer from ${min} to ${max}`;
  return fail(`${name} is ${JSON.stringify(text)}, not ${bounds}`);
}

function list(name: string): string[] | undefined {
  const items = (process.env[name] ?? "").split(",").map((item) => item.trim()).filter(Boolean);
  return items.length > 0 ? items : undefined;
}

/** The upstream if one is named, else the echo. */
function source(): NonNullable<HandlerOptions["source"]> {
  const delayMs = number("TOKEN_DELAY_MS", 100, 0, 60_000);
  const { OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: apiKey, OPENAI_MODEL: model } = process.env;
  if (!baseUrl) return echo({ delayMs });
  if (!model) return fail("OPENAI_MODEL is missing, and OPENAI_BASE_URL is set");
  try {
    return openai({ baseUrl, model, ...apiKey ? { apiKey } : {} });
  } catch (error) {
    // It names the option and holds neither the key nor the URL.
    return fail(`OPENAI_BASE_URL, OPENAI_API_KEY or OPENAI_MODEL: ${(error as Error).message}`);
  }
}

const hostname = process.env.HOST || "127.0.0.1";
const port = number("PORT", 8000, 0, 65_535);
const cors = list("CORS_ORIGINS");
const allowedHosts = list("ALLOWED_HOSTS") ?? [];

const handler = createHandler({
  source: source(),
  ...process.env.OPENAI_BASE_URL ? { model: process.env.OPENAI_MODEL! } : {},
  heartbeatMs: number("HEARTBEAT_MS", 5000, 100, 60_000, true),
  commitAfterMs: number("COMMIT_AFTER_MS", 250, 0, 5000),
  limits: { maxStreams: number("MAX_STREAMS", 10_000, 1, 1_000_000) },
  ...cors ? { cors } : {},
  allowedHosts,
});

let listening: Listening | undefined;

function announce(server: Listening): void {
  listening = server;
  // Bound to loopback, only its own names are served: a page elsewhere may point its name here.
  const loopback = server.hostname !== undefined && LOOPBACK.includes(server.hostname);
  if (loopback && allowedHosts.length === 0) allowedHosts.push(...LOOPBACK);
  const wildcard = server.hostname === "0.0.0.0" || server.hostname === "::";
  const host = wildcard ? "127.0.0.1" : server.hostname;
  const url = `http://${host?.includes(":") ? `[${host}]` : host}:${server.port}`;
  console.log(`Spillway listens on ${url}${wildcard ? " (and every other address)" : ""}. Try:

curl -N -X POST -H "Content-Type: application/json" -H "accept: text/event-stream" \\
     -d '{"query":"Streaming responseのテスト"}' ${url}/streaming
`);
}

async function shutDown(): Promise<void> {
  await handler.drain({ timeoutMs: 0 });
  // What was written last has yet to leave; nobody holds the exit up for longer than this.
  setTimeout(() => process.exit(0), 500);
  await listening?.stop?.();
  if (bun) process.exit(0);
}
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, shutDown);

/** What `deno serve` and `Bun.serve` are given. */
interface Entry extends Listening {
  fetch(request: Request, info?: unknown): Promise<Response>;
  idleTimeout: number;
  onListen(address: Listening): void;
}

const entry: Entry = {
  fetch: handler.fetch,
  port,
  hostname,
  /** Seconds, on Bun, for a connection that asks nothing; the handler lifts it for each request. */
  idleTimeout: 30,
  /** Called by Deno. */
  onListen: announce,
};

function serveOnBun(): Listening {
  try {
    const server = bun!.serve({ ...entry, development: false });
    announce(server);
    return server;
  } catch (error) {
    return fail(`cannot listen on ${hostname}:${port}: ${(error as Error).message}`);
  }
}

// Deno serves the default export itself. Bun would too, but not tell us where: it is started by hand,
// and leaves alone what it finds to be a server already.
const served: Entry | Listening = bun && import.meta.main ? serveOnBun() : entry;
export default served;
