/**
 * Clients that take nothing are dropped together with their sockets, where the runtime lets us: on Bun
 * the server's side is closed while the client still holds its own, and `node:http` resets it on each
 * runtime; `Deno.serve` has nothing for it.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { createHandler, type HandlerOptions } from "../../lib/handler.ts";
import { sse } from "../../lib/http/sse.ts";
import { toNodeListener } from "../../lib/node.ts";
import type { Source } from "../../lib/pipeline/pump.ts";
import {
  type RawRequest,
  rawRequest,
  runtimeName,
  serve,
  type Served,
  until,
} from "../support/serve.ts";
import { total } from "../support/child.ts";

const COUNT = 50;
const STALL_MS = 500;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const endless: Source<unknown> = async function* ({ signal }) {
  for (let i = 0; !signal.aborted; i++) {
    yield "x".repeat(10_000);
    if (i % 50 === 0) await sleep(0);
  }
};

/** The file descriptors of this process: the clients are in it as well. */
const descriptors = () => readdirSync("/proc/self/fd").length;

const LISTENING = "0A";

/** The bytes that the kernel holds for clients of a server, closed or not, which they have not taken. */
function heldFor(port: number): number {
  const from = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = ["tcp", "tcp6"].map((name) => readFileSync(`/proc/net/${name}`, "latin1"));
  let bytes = 0;
  for (const line of lines.join("\n").split("\n")) {
    // "  12: 0100007F:1F90 0100007F:C350 01 00000000:00000000 …": from, to, state, sent, received
    const [, local, , state, queues = ""] = line.trim().split(/ +/);
    if (local?.endsWith(from) && state !== LISTENING) bytes += parseInt(queues.slice(0, 8), 16);
  }
  return bytes;
}

/** What became of stalled clients of one server, while they stay. */
interface Freed {
  /** How many of the server's sockets were freed. */
  readonly sockets: number;
  /** What the kernel still holds for them, in bytes. */
  readonly heldBytes: number;
}

/** Lets clients stall on one server, until the sockets are freed or `withinMs` has passed. */
async function freed(server: Served, withinMs: number): Promise<Freed> {
  await fetch(`${server.url}/health`).then((response) => response.text());
  const clients = await Promise.all(Array.from({ length: COUNT }, () =>
    rawRequest(server.port, {
      method: "POST",
      path: "/streaming",
      headers: { "content-type": "application/json" },
      body: '{"query":""}',
      paused: true,
    })));
  try {
    const reset = new Set<Socket>();
    for (const { socket } of clients) {
      socket.on("error", ({ code }: NodeJS.ErrnoException) => {
        if (code === "ECONNRESET") reset.add(socket);
      });
    }
    await until(() => active.readers === COUNT, 20_000, "the streams");
    const held = descriptors();
    await until(() => active.readers === 0, 20_000, "all are dropped");
    let gone = 0;
    for (const fromMs = performance.now(); gone < COUNT && performance.now() - fromMs < withinMs;) {
      await sleep(50);
      gone = held - descriptors();
    }
    // Some runtimes tell a client that reads nothing of a reset as well.
    const holdsOn = ({ socket }: RawRequest) => !socket.destroyed || reset.has(socket);
    assert(clients.every(holdsOn), "the clients hold on");
    return { sockets: gone, heldBytes: heldFor(server.port) };
  } finally {
    for (const { socket } of clients) socket.destroy();
    await server.close();
  }
}

const options: Partial<HandlerOptions> = { stallMs: STALL_MS, commitAfterMs: 0 };
const SERVERS: Record<string, () => Served> = {
  "createHandler with a log": () =>
    serve(createHandler({ ...options, source: endless, disconnect: "cancel" }).fetch),
  "createHandler without a log": () =>
    serve(createHandler({ ...options, source: endless, log: false }).fetch),
  "a bare sse": () =>
    serve((request) => {
      // The first request warms the client up.
      return new URL(request.url).pathname === "/health"
        ? new Response("ok")
        : sse(request, endless, { stallMs: STALL_MS });
    }),
};

/** What frees them on each runtime. */
const NODE_HTTP = "createHandler under node:http";
SERVERS[NODE_HTTP] = () => {
  const handler = createHandler({ ...options, source: endless, log: false });
  const server = createServer(toNodeListener(handler));
  server.listen(0);
  const { port } = server.address() as AddressInfo;
  const close = () => {
    server.closeAllConnections();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return { port, url: `http://127.0.0.1:${port}`, close };
};

for (const [name, start] of Object.entries(SERVERS)) {
  const isReset = runtimeName === "node" || name === NODE_HTTP;
  const isFreed = isReset || (runtimeName === "bun" && name !== "a bare sse");
  test(
    `${COUNT} stalled clients of ${name}: the sockets are freed, where the runtime lets us`,
    { skip: !existsSync("/proc/self/fd") },
    async () => {
      const { sockets, heldBytes } = await freed(start(), isFreed ? 30_000 : 500);
      // Idle connections of before may go as well.
      if (isFreed) assert(sockets >= COUNT, `${sockets} of ${COUNT}`);
      else assert(sockets < COUNT, "it lets us after all: docs/runtimes.md says that it does not");
      // What is closed and not reset, the kernel keeps for minutes.
      if (isReset) assert.equal(heldBytes, 0);
      else assert(heldBytes > 0, "it is freed after all: docs/runtimes.md says that it is not");
      await until(() => total(active) === 0, 2000, "nothing left");
    },
  );
}
