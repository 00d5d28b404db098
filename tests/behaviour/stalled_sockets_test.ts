/**
 * Clients that take nothing are dropped together with their sockets, where the runtime lets us: on Bun
 * and Node the server's side is closed while the client still holds its own; `Deno.serve` has nothing for
 * it, and `node:http` on Deno has.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { active } from "../../lib/counters.ts";
import { createHandler, type HandlerOptions } from "../../lib/handler.ts";
import { sse } from "../../lib/http/sse.ts";
import { toNodeListener } from "../../lib/node.ts";
import type { Source } from "../../lib/pipeline/pump.ts";
import { rawRequest, runtimeName, serve, type Served, until } from "../support/serve.ts";
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

/** Lets clients stall on one server, and tells how many of its sockets were freed while they stay. */
async function freed(server: Served, withinMs: number): Promise<number> {
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
    for (const { socket } of clients) socket.on("error", () => {});
    await until(() => active.readers === COUNT, 20_000, "the streams");
    const held = descriptors();
    await until(() => active.readers === 0, 20_000, "all are dropped");
    let gone = 0;
    for (const fromMs = performance.now(); gone < COUNT && performance.now() - fromMs < withinMs;) {
      await sleep(50);
      gone = held - descriptors();
    }
    assert(clients.every(({ socket }) => !socket.destroyed), "the clients hold on");
    return gone;
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

/** What frees them on Deno. */
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
  const isFreed = runtimeName === "node" || name === NODE_HTTP ||
    (runtimeName === "bun" && name !== "a bare sse");
  test(
    `${COUNT} stalled clients of ${name}: the sockets are freed, where the runtime lets us`,
    {
      skip: !existsSync("/proc/self/fd") || (runtimeName === "bun" && name === NODE_HTTP),
    },
    async () => {
      const gone = await freed(start(), isFreed ? 30_000 : 500);
      // Idle connections of before may go as well.
      if (isFreed) assert(gone >= COUNT, `${gone} of ${COUNT}`);
      else assert(gone < COUNT, "it lets us after all: docs/runtimes.md says that it does not");
      await until(() => total(active) === 0, 2000, "nothing left");
    },
  );
}
