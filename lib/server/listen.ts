/**
 * Listening, on each runtime: the only file of the server that knows which one it is on. Under
 * `deno serve` the runtime listens by itself.
 */
import type { BunRedisClient } from "../replay/redis/clients.ts";
import { listenReason } from "./failures.ts";

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
  readonly finished: Promise<void>;
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
  readonly stdout: DenoWriter;
  readonly stderr: DenoWriter;
}

interface DenoWriter {
  write(bytes: Uint8Array): Promise<number>;
}

const { Bun: bun, Deno: deno } = globalThis as { Bun?: BunGlobal; Deno?: DenoGlobal };

/** Which runtime this is. */
export const runtimeName: RuntimeName = bun ? "bun" : deno ? "deno" : "node";

/** Bun's own Redis client; `undefined` on other runtimes. */
export const RedisClient: BunGlobal["RedisClient"] | undefined = bun?.RedisClient;

/** What writes standard output, 1, or standard error, 2, on Deno, where `process.stdout` waits. */
export function asyncWriter(fd: 1 | 2): ((bytes: Uint8Array) => Promise<number>) | undefined {
  const writer = fd === 1 ? deno?.stdout : deno?.stderr;
  return writer && ((bytes) => writer.write(bytes).catch(() => bytes.length));
}

/** How long a connection is kept without a request. Bun's is lifted by the handler for each request. */
export const IDLE_TIMEOUT_S = 30;

/**
 * Listens. `onError` is told of connections that could not be accepted.
 *
 * @param isShared Whether other workers listen on the same port.
 * @throws {Error} If it cannot; the message is a part of a sentence.
 */
export async function listen(
  fetch: Fetch,
  address: Address,
  onError: (error: unknown) => void,
  isShared = false,
): Promise<Listening> {
  try {
    if (bun) return onBun(bun, fetch, address, isShared);
    if (deno) return onDeno(deno, fetch, address, onError);
    return await onNode(fetch, address, onError);
  } catch (error) {
    throw new Error(
      `cannot listen on ${address.hostname}:${address.port}: ${
        listenReason(error, address.hostname)
      }`,
      {
        cause: error,
      },
    );
  }
}

function onBun(bun: BunGlobal, fetch: Fetch, address: Address, isShared: boolean): Listening {
  // Without a word Bun shares the port of a server that is not in development: half of the clients
  // that come back would meet a process that has never heard of their stream.
  const options = { development: false, reusePort: isShared, idleTimeout: IDLE_TIMEOUT_S };
  const server = bun.serve({ ...options, ...address, fetch });
  return { hostname: server.hostname, port: server.port, stop: () => server.stop() };
}

function onDeno(
  deno: DenoGlobal,
  fetch: Fetch,
  address: Address,
  onError: (error: unknown) => void,
): Listening {
  // Without `onListen` Deno prints a line of its own.
  const serve = (address: Address) => deno.serve({ ...address, handler: fetch, onListen() {} });
  let server = serve(address);
  const { addr } = server;
  let isStopped = false;
  // A connection for which there was no file descriptor ends Deno's listener, and its process unless
  // somebody catches the error. The open streams go on meanwhile.
  const listenAgain = () => {
    if (isStopped) return;
    try {
      server = serve(addr);
      server.finished.catch(failed);
    } catch {
      setTimeout(listenAgain, RELISTEN_MS);
    }
  };
  const failed = (error: unknown) => {
    onError(new Error(`Stopped listening, and tries again`, { cause: error }));
    setTimeout(listenAgain, RELISTEN_MS);
  };
  server.finished.catch(failed);
  const stop = () => {
    isStopped = true;
    return server.shutdown();
  };
  return { ...addr, stop };
}

/** How long Deno's listener stays away after an error, in ms. */
const RELISTEN_MS = 500;

async function onNode(
  fetch: Fetch,
  address: Address,
  onError: (error: unknown) => void,
): Promise<Listening> {
  // Loaded here, so that the other runtimes do without Node's server.
  const [{ createServer }, { toNodeListener }] = await Promise.all([
    import("node:http"),
    import("../node.ts"),
  ]);
  // Node's own 5 s are less than proxies keep a connection, which then send into a closed one.
  const options = { keepAliveTimeout: IDLE_TIMEOUT_S * 1000 };
  const server = createServer(options, toNodeListener(fetch, { onError }));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(address.port, address.hostname, resolve);
  });
  // From here on an error is one of accepting a connection, and the next one may succeed.
  server.on("error", onError);
  const { address: hostname, port } = server.address() as { address: string; port: number };
  const stop = () => {
    // A client whose connection was busy just now goes elsewhere with its next request but one.
    server.on("request", (_, response) => response.shouldKeepAlive = false);
    return new Promise((resolve) => server.close(resolve));
  };
  return { hostname, port, stop };
}

/** What `deno serve` cannot do. */
export interface DenoServeFailures {
  /** Called if it cannot listen, of which it would print a page. */
  cannotListen(error: Error): void;
  /** Called if its listener has ended because there was no file descriptor for a connection. */
  outOfFiles(error: Error): void;
}

/** What an error of `deno serve` holds if it could not listen. */
const CANNOT_LISTEN = /EADDRINUSE|EADDRNOTAVAIL|EACCES|lookup address/;

/** Handles the failures of `deno serve`, which would end the process. To be called before it listens. */
export function onDenoServeFailures({ cannotListen, outOfFiles }: DenoServeFailures): void {
  globalThis.addEventListener("unhandledrejection", (event: Event) => {
    const { reason } = event as Event & { reason?: Error & { code?: unknown } };
    const isFull = /too many open files/i.test(reason?.message ?? "");
    if (
      reason === undefined || (!CANNOT_LISTEN.test(`${reason.code} ${reason.message}`) && !isFull)
    ) return;
    event.preventDefault();
    if (isFull) outOfFiles(reason);
    else cannotListen(reason);
  });
}
