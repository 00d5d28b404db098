/**
 * Who is measured: Spillway, the floors and ceilings, and the peers, each with its file and what it can do.
 * A peer is left out of a shape when its documentation has no way to feed it like that.
 */
import type { Payload } from "./body.ts";
import type { FormatName, Shape } from "./producers.ts";

export type Runtime = "bun" | "deno" | "node" | "python" | "nginx";
export type CaseName =
  | "burst"
  | "short"
  | "capacity"
  | "paced"
  | "first"
  | "fairness"
  | "memory"
  | "relay"
  | "gateway"
  | "codec"
  | "formats"
  | "replay"
  | "redis";

export type Subject = {
  name: string;
  runtime: Runtime;
  /** The program, relative to `bench/peers`; nginx has none. */
  file: string;
  /** `own` and `floor` run always, `peer` with `--peers`. */
  kind: "own" | "floor" | "peer";
  payload: Payload;
  /** Burst shapes it can be fed in; the first one is used where a case needs any. */
  shapes: readonly Shape[];
  cases: readonly CaseName[];
  /** Another path than `/` for some shapes. */
  paths?: Partial<Record<Shape, string>>;
  /** Needs `upstream.ts`, which then runs beside the load generator; its URL is in `UPSTREAM`. */
  relays?: true;
  /** Arguments of a program that takes its port there. */
  portArgument?: string;
  /** Headers of each request of the gateway case. */
  headers?: Readonly<Record<string, string>>;
  /** Needs a Redis, which then runs beside the load generator; with `follows` also a process that makes its streams. */
  redis?: "writes" | "follows";
};

const ALL: readonly Shape[] = ["generator", "sync", "queue", "micro", "macro"];
const PULLED: readonly Shape[] = ["generator", "sync"];
const STREAMS: readonly CaseName[] = [
  "burst",
  "capacity",
  "paced",
  "first",
  "fairness",
  "memory",
];

function on(
  runtimes: readonly Runtime[],
  name: string,
  file: string,
  kind: Subject["kind"],
  more: Partial<Subject> = {},
): Subject[] {
  const common = { payload: "raw" as Payload, shapes: ALL, cases: STREAMS };
  return runtimes.map((runtime) => ({ ...common, name, runtime, file, kind, ...more }));
}

const BOTH: readonly Runtime[] = ["bun", "deno"];
const BUN: readonly Runtime[] = ["bun"];
/** On Node a subject that returns a `Response` is served by `spillway/node`, whosever it is. */
const NODE: readonly Runtime[] = ["node"];
const ALL_RUNTIMES: readonly Runtime[] = [...BOTH, ...NODE];
const BURSTS: readonly CaseName[] = ["burst", "short"];

/** What relays and gateways are compared with: the client asks the upstream directly. */
export const UPSTREAM_ITSELF = "upstream itself";
const GATEWAY: Partial<Subject> = { cases: ["gateway"], payload: "chunk" };

export const SUBJECTS: readonly Subject[] = [
  ...on(BOTH, "spillway", "spillway.ts", "own", {
    cases: [...STREAMS, "short", "formats", "replay"],
  }),
  ...on(NODE, "spillway", "spillway.ts", "own", { cases: [...BURSTS, "capacity"] }),
  ...on(BOTH, "spillway memory log", "spillway_replay.ts", "own", { cases: ["capacity"] }),
  ...on(BOTH, "spillway redis log", "spillway_redis.ts", "own", {
    cases: ["capacity"],
    redis: "writes",
  }),
  ...on(BOTH, "spillway sqlite log", "spillway_sqlite.ts", "own", { cases: ["capacity"] }),
  ...on(BOTH, "spillway replay", "spillway_replay.ts", "own", { cases: ["replay"] }),
  ...on(BOTH, "spillway handler", "spillway_handler.ts", "own", { cases: ["replay"] }),
  ...on(BOTH, "spillway redis", "spillway_redis.ts", "own", { cases: ["redis"], redis: "writes" }),
  ...on(BOTH, "spillway memory", "spillway_redis.ts", "own", {
    cases: ["redis"],
    redis: "writes",
    paths: { generator: "/memory", paced: "/memory" },
  }),
  ...on(BOTH, "redis follower", "spillway_redis.ts", "own", { cases: ["redis"], redis: "follows" }),
  ...on(BOTH, "floor", "floor.ts", "floor", { cases: [...BURSTS, "first"] }),
  ...on(NODE, "floor", "floor.ts", "floor", { cases: BURSTS }),
  ...on(BUN, "raw socket", "raw_bun.ts", "floor", { cases: ["capacity", "paced"] }),
  ...on(["deno"], "raw socket", "raw_net.ts", "floor", { cases: ["capacity", "paced"] }),
  ...on(BOTH, "prototype", "prototype.ts", "peer", { cases: [...STREAMS, "short"] }),
  ...on(NODE, "prototype", "prototype.ts", "peer", { cases: BURSTS }),
  ...on(BOTH, "bare", "bare.ts", "peer"),
  ...on(BUN, "direct", "direct.ts", "peer"),
  ...on(BUN, "async body", "async_body.ts", "peer", { shapes: ["generator"] }),
  ...on(BUN, "node:http", "node_http.ts", "peer"),
  ...on(NODE, "node:http", "node_http.ts", "peer", { cases: ["capacity"] }),
  ...on(BOTH, "hono", "hono.ts", "peer", { shapes: ["generator", "sync", "micro", "macro"] }),
  ...on(BOTH, "hono unawaited", "hono_push.ts", "peer", { shapes: ["queue"], cases: ["memory"] }),
  ...on(BUN, "elysia", "elysia.ts", "peer", { shapes: PULLED, paths: { sync: "/sync" } }),
  ...on(BOTH, "h3", "h3.ts", "peer"),
  ...on(BUN, "better-sse", "better_sse.ts", "peer", { payload: "string" }),
  ...on(BUN, "ai sdk", "ai_sdk.ts", "peer", {
    payload: "text-delta",
    cases: [...STREAMS, "formats"],
  }),
  ...on(["python"], "fastapi generator", "fastapi_app.py", "peer", { shapes: ["generator"] }),
  ...on(["python"], "fastapi queue", "fastapi_app.py", "peer", {
    shapes: ["queue"],
    paths: { queue: "/queue", generator: "/queue", paced: "/queue", idle: "/queue" },
    cases: ["burst", "capacity", "paced", "first"],
  }),
  ...on(BOTH, "ceiling", "ceiling.ts", "peer", { shapes: ["sync"], cases: ["burst"] }),
  ...on(["nginx"], "ceiling", "", "peer", { shapes: ["sync"], cases: ["burst"] }),
  ...on(BOTH, "spillway relay", "relay_spillway.ts", "own", {
    cases: ["relay"],
    payload: "token",
    relays: true,
  }),
  ...on(BUN, UPSTREAM_ITSELF, "../upstream.ts", "floor", {
    cases: ["relay", "gateway"],
    payload: "chunk",
  }),
  ...on(BOTH, "fetch piped through", "relay_fetch.ts", "floor", {
    cases: ["relay"],
    payload: "chunk",
    relays: true,
  }),
  ...on(BOTH, "openai and hono", "relay_openai_hono.ts", "peer", {
    cases: ["relay"],
    relays: true,
  }),
  ...on(ALL_RUNTIMES, "spillway handler", "gateway_spillway.ts", "own", GATEWAY),
  ...on(BOTH, "spillway relay()", "gateway_relay.ts", "own", GATEWAY),
  ...on(BOTH, "fetch piped through", "gateway_fetch.ts", "floor", GATEWAY),
  ...on(BOTH, "openai and hono", "gateway_openai_hono.ts", "peer", GATEWAY),
  ...on(NODE, "portkey", "node_modules/@portkey-ai/gateway/build/start-server.js", "peer", {
    ...GATEWAY,
    portArgument: "--port=",
    headers: {
      "x-portkey-provider": "openai",
      "x-portkey-custom-host": "{upstream}/v1",
    },
  }),
  ...on(ALL_RUNTIMES, "spillway decoder", "codec_spillway.ts", "own", { cases: ["codec"] }),
  ...on(ALL_RUNTIMES, "eventsource-parser", "codec_eventsource_parser.ts", "peer", {
    cases: ["codec"],
  }),
];

/** The subject's path and query for a shape, without its `n`. */
export function pathOf(subject: Subject, shape: Shape, format: FormatName = "text"): string {
  return `${subject.paths?.[shape] ?? "/"}?shape=${shape}&format=${format}`;
}
