/**
 * Listening, on each runtime: the only file of the server that knows which one it is on. Under
 * `deno serve` the runtime listens by itself.
 */
import type { BunRedisClient } from "../replay/redis/clients.ts";

/** Handles a request; `info` is the runtime's second argument. */
export type Fetch = (request: Request, info?: unknown) => Promise<Response>;

/** Where to listen. */
export interface Address {
  readonly hostname: string;
  readonly port: number;
}

/** A server that listens. */
export interface Listening extends Address {
  /** Takes no further connection, and resolves when the open ones have ended. */
  stop(): Promise<unknown>;
}

/** A runtime that can listen. */
export type RuntimeName = "bun" | "deno" | "node";

interface BunServer extends Address {
  stop(): Promise<unknown>;
}

interface DenoServer {
  readonly addr: Address;
  shutdown(): Promise<unknown>;
}

/** What is used of the global `Bun`. */
interface BunGlobal {
  serve(options: unknown): BunServer;
  RedisClient: new (url: string) => BunRedisClient;
}

/** What is used of the global `Deno`. */
interface DenoGlobal {
  serve(options: unknown): DenoServer;
}

const { Bun: bun, Deno: deno } = globalThis as { Bun?: BunGlobal; Deno?: DenoGlobal };

/** Which runtime this is. */
export const runtimeName: RuntimeName = bun ? "bun" : deno ? "deno" : "node";

/** Bun's own Redis client; `undefined` on other runtimes. */
export const RedisClient: BunGlobal["RedisClient"] | undefined = bun?.RedisClient;

/** How long a connection is kept without a request. Bun's is lifted by the handler for each request. */
export const IDLE_TIMEOUT_S = 30;

/**
 * Listens.
 *
 * @throws {Error} If it cannot; the message is a part of a sentence.
 */
// deno-lint-ignore require-await
export async function listen(fetch: Fetch, address: Address): Promise<Listening> {
  try {
    if (bun) return onBun(bun, fetch, address);
    if (deno) return onDeno(deno, fetch, address);
    throw new Error("Node does not serve yet; Bun and Deno do");
  } catch (error) {
    throw new Error(`cannot listen on ${address.hostname}:${address.port}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function onBun(bun: BunGlobal, fetch: Fetch, address: Address): Listening {
  // Without a word Bun shares the port of a server that is not in development: half of the clients
  // that come back would meet a process that has never heard of their stream.
  const options = { development: false, reusePort: false, idleTimeout: IDLE_TIMEOUT_S };
  const server = bun.serve({ ...options, ...address, fetch });
  return { hostname: server.hostname, port: server.port, stop: () => server.stop() };
}

function onDeno(deno: DenoGlobal, fetch: Fetch, address: Address): Listening {
  // Without `onListen` Deno prints a line of its own.
  const server = deno.serve({ ...address, handler: fetch, onListen() {} });
  return { ...server.addr, stop: () => server.shutdown() };
}

function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: unknown; message: string };
  return code === "EADDRINUSE" ? "the port is taken" : message;
}

/**
 * Calls `then` if `deno serve` finds its port taken, of which it would print a page. To be called
 * before it listens; returns what ends it.
 */
export function onPortTaken(then: () => void): () => void {
  const listener = (event: Event) => {
    const { reason } = event as Event & { reason?: { code?: unknown } };
    if (reason?.code !== "EADDRINUSE") return;
    event.preventDefault();
    then();
  };
  globalThis.addEventListener("unhandledrejection", listener);
  return () => globalThis.removeEventListener("unhandledrejection", listener);
}
