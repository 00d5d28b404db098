/**
 * The server under attack, in a process of its own on each runtime: a handler as it is served, with
 * small limits, and a way to ask what is open. `ATTACK` in its environment has its settings as JSON.
 */
import { readdirSync } from "node:fs";
import process from "node:process";
import { active } from "../../lib/counters.ts";
import { createHandler } from "../../lib/full_handler.ts";
import { apiKeyAuth } from "../../lib/handler/api_keys.ts";
import type { SourceContext } from "../../lib/pipeline/pump.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { listen } from "../../lib/server/listen.ts";
import type { AttackSettings, State } from "./support/victim.ts";

const settings: AttackSettings = JSON.parse(process.env["ATTACK"] ?? "{}");
const {
  keepMs = 500,
  stallMs = 60_000,
  bodyTimeoutMs = 400,
  keys = true,
  continueForMs = 0,
  log = true,
} = settings;

const state: State = {
  active,
  handled: 0,
  started: 0,
  thrown: [],
  errors: [],
  closes: {},
  rssBytes: 0,
  descriptors: 0,
};

/** The tokens of a query: its words, or what its first word asks for. */
async function* tokens({ input, signal }: SourceContext<{ query: string }>) {
  state.started++;
  const { query } = input;
  const [kind, ...rest] = query.split(" ");
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  if (kind === "endless") {
    while (!signal.aborted) {
      yield "token ";
      await pause(10);
    }
  } else if (kind === "flood") {
    while (!signal.aborted) yield "x".repeat(1024);
  } else if (kind === "slow") {
    const [count = "20", ms = "20"] = rest;
    for (let at = 0; at < Number(count); at++) {
      yield `${at} `;
      await pause(Number(ms));
    }
  } else yield* query.split(/(?<= )/);
}

const handler = createHandler({
  source: tokens,
  log: log ? new MemoryLog({ keepMs }) : false,
  allowedHosts: ["127.0.0.1"],
  cors: ["https://app.example"],
  ...keys ? { authorize: apiKeyAuth(["key-of-one", "key-of-two"]) } : {},
  ...log ? { disconnect: { continueForMs } } : {},
  stallMs,
  limits: {
    maxBodyBytes: 64 * 1024,
    maxChatBodyBytes: 256 * 1024,
    maxStreams: 5000,
    maxStreamsPerOwner: 5000,
    bodyTimeoutMs,
    ...settings.limits,
  },
  onClose: ({ outcome, code }) => {
    const name = code === undefined ? outcome : `${outcome} ${code}`;
    state.closes[name] = (state.closes[name] ?? 0) + 1;
  },
  onError: (error) => void state.errors.push(String(error)),
});

const runtime = globalThis as { Bun?: { gc(force: boolean): void }; gc?(): void };

/** What only the attacker of this test may ask. */
async function control(path: string): Promise<Response> {
  const [, verb, value = "0"] = path.split("/");
  if (verb === "collect") {
    for (let i = 0; i < 3; i++) {
      runtime.Bun?.gc(true);
      runtime.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  } else if (verb === "block") {
    const end = performance.now() + Number(value);
    while (performance.now() < end);
  } else if (verb === "clock") {
    const { now } = Date;
    Date.now = () => now() + Number(value);
  }
  state.rssBytes = process.memoryUsage().rss;
  state.descriptors = readdirSync("/proc/self/fd").length;
  return Response.json(state);
}

/** Reads a body as a program without Spillway would, and keeps its bytes until its end. */
async function readBare({ body }: Request): Promise<Response> {
  const bytes = new Uint8Array(2 ** 20);
  let size = 0;
  let room = new Uint8Array(1024);
  const keep = (chunk: Uint8Array) => {
    bytes.set(chunk, size);
    size += chunk.length;
  };
  try {
    const reader = body!.getReader({ mode: "byob" });
    for (;;) {
      const { done, value } = await reader.read(room);
      if (done) break;
      keep(value);
      room = new Uint8Array(value.buffer);
    }
  } catch {
    // Bun has no byte streams here. What broke off is locked.
    if (body!.locked) return new Response(null, { status: 400 });
    try {
      for await (const chunk of body!) keep(chunk);
    } catch {
      return new Response(null, { status: 400 });
    }
  }
  return new Response(String(size));
}

const served = await listen(
  async (request, info) => {
    try {
      if (request.headers.has("x-control")) return control(request.headers.get("x-control")!);
      state.handled++;
      return await (settings.bare ? readBare(request) : handler.fetch(request, info));
    } catch (error) {
      state.thrown.push(String(error));
      return new Response("thrown", { status: 500 });
    }
  },
  { hostname: "127.0.0.1", port: 0 },
  (error) => state.thrown.push(String(error)),
);
console.log(`port ${served.port}`);
// Whoever started this is gone, however they went.
process.stdin.on("end", () => process.exit(1)).resume();
