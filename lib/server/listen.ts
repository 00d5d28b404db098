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
export async function listen(fetch: Fetch, address: Address): Promise<Listening> {
  try {
    if (bun) return onBun(bun, fetch, address);
    if (deno) return onDeno(deno, fetch, address);
    return await onNode(fetch, address);
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

async function onNode(fetch: Fetch, address: Address): Promise<Listening> {
  // Loaded here, so that the other runtimes do without Node's server.
  const [{ createServer }, { toNodeListener }] = await Promise.all([
    import("node:http"),
    import("../node.ts"),
  ]);
  // Node's own 5 s are less than proxies keep a connection, which then send into a closed one.
  const options = { keepAliveTimeout: IDLE_TIMEOUT_S * 1000 };
  const server = createServer(options, toNodeListener(fetch));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(address.port, address.hostname, resolve);
  });
  // From here on an error is one of accepting a connection, and the next one may succeed.
  server.on("error", console.error);
  const { address: hostname, port } = server.address() as { address: string; port: number };
  return { hostname, port, stop: () => new Promise((resolve) => server.close(resolve)) };
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
