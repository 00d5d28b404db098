/**
 * A fetch function behind a real socket, on whichever runtime runs the test, and a raw socket to talk to
 * it. No test has to know its runtime.
 */
import { Buffer } from "node:buffer";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { toNodeListener } from "../../lib/node.ts";

export interface Served {
  readonly port: number;
  readonly url: string;
  close(): Promise<void>;
}

type Fetch = (request: Request, info?: unknown) => Response | Promise<Response>;
interface Runtime {
  Bun?: {
    serve(options: unknown): { port: number; stop(force: boolean): Promise<void> };
  };
  Deno?: {
    serve(options: unknown, fetch: Fetch): { addr: { port: number }; shutdown(): Promise<void> };
    version: { deno: string };
  };
}
const runtime = globalThis as Runtime;

/** Which runtime this is, for what must differ. */
export const runtimeName: "bun" | "deno" | "node" = runtime.Bun
  ? "bun"
  : runtime.Deno
  ? "deno"
  : "node";

/** Serves on port 0 of the loopback address; `idleTimeout` is Bun's, in seconds, 0 for off. */
export function serve(fetch: Fetch, { idleTimeout = 0 }: { idleTimeout?: number } = {}): Served {
  if (runtimeName === "node") {
    const server = createServer(toNodeListener(fetch));
    // A client may use a connection in the moment in which the server would close it.
    server.keepAliveTimeout = 600_000;
    // With an address it would be looked up first; without one the port is known at once.
    server.listen(0);
    return served((server.address() as AddressInfo).port, () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    });
  }
  if (runtime.Bun) {
    const options = { hostname: "127.0.0.1", port: 0, idleTimeout, development: false, fetch };
    const server = runtime.Bun.serve(options);
    return served(server.port, () => server.stop(true));
  }
  const abort = new AbortController();
  const options = { hostname: "127.0.0.1", port: 0, signal: abort.signal, onListen: () => {} };
  const server = runtime.Deno!.serve(options, fetch);
  return served(server.addr.port, async () => {
    abort.abort();
    await server.shutdown();
  });
}

function served(port: number, close: () => Promise<void>): Served {
  return { port, url: `http://127.0.0.1:${port}`, close };
}

/** A raw connection that has sent a request; what it received is in `received`. */
export interface RawRequest {
  readonly socket: Socket;
  received: string;
  /** The other side has ended the connection, in good order or not. */
  ended: boolean;
  /** Begins to read a connection that was made paused. */
  read(): void;
}

/** How a reader can leave: half-closing, closing, or resetting its connection. */
export const DEPARTURES = ["end", "destroy", "resetAndDestroy"] as const;

/** Sends a request by hand and collects the answer as Latin-1, so that one character is one byte. */
export function rawRequest(
  port: number,
  {
    method = "GET",
    path = "/",
    host = `127.0.0.1:${port}`,
    headers = {},
    body = "",
    paused = false,
  }: {
    method?: string;
    path?: string;
    host?: string;
    headers?: Record<string, string>;
    body?: string;
    paused?: boolean;
  } = {},
): Promise<RawRequest> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    const read = () => void socket.on("data", (data) => raw.received += data).resume();
    const raw: RawRequest = { socket, received: "", ended: false, read };
    socket.setEncoding("latin1");
    if (paused) socket.pause();
    else read();
    socket.on("error", reject);
    socket.on("end", () => raw.ended = true);
    socket.on("close", () => raw.ended = true);
    socket.on("connect", () => {
      const lines = [`${method} ${path} HTTP/1.1`, `Host: ${host}`];
      if (body !== "") headers = { ...headers, "content-length": String(body.length) };
      for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
      socket.write(`${lines.join("\r\n")}\r\n\r\n${body}`, "latin1");
      resolve(raw);
    });
  });
}

/** The body of a raw answer as text, its chunks put together; `whole` if its end was there. */
export function bodyOf({ received }: RawRequest): { text: string; whole: boolean } {
  const from = received.indexOf("\r\n\r\n") + 4;
  if (!/^transfer-encoding: chunked\r$/im.test(received.slice(0, from))) {
    const length = /^content-length: (\d+)\r$/im.exec(received.slice(0, from))?.[1];
    const body = received.slice(from);
    return { text: utf8(body), whole: length !== undefined && body.length === Number(length) };
  }
  let body = "";
  for (let at = from;;) {
    const line = received.indexOf("\r\n", at);
    const size = line < 0 ? NaN : parseInt(received.slice(at, line), 16);
    if (!(size > 0)) return { text: utf8(body), whole: size === 0 };
    body += received.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
  }
}

function utf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}

/** How much of a turn counts: one that takes longer is a busy machine's. */
const MAX_TURN_MS = 5;

/**
 * Waits until `holds` does, looking every 2 ms; fails after `withinMs`, in which time that the machine
 * gives to others does not count.
 */
export async function until(
  holds: () => boolean,
  withinMs: number,
  what: string,
): Promise<void> {
  for (let leftMs = withinMs; !holds();) {
    if (leftMs <= 0) throw new Error(`Not within ${withinMs} ms: ${what}`);
    const fromMs = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 2));
    leftMs -= Math.min(performance.now() - fromMs, MAX_TURN_MS);
  }
}
