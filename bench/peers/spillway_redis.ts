/**
 * Spillway with a `RedisLog`: streams of its own (`/`), and with `PRODUCER` streams that another process makes, each
 * begun there for a client here. `/begin` is what that process is asked: a generation whose clients are elsewhere.
 * `/memory` is the same program with a `MemoryLog`, for a Redis client takes time and memory while it does nothing.
 */
import process from "node:process";
import { bunRedis, type BunRedisClient, nodeRedis, type NodeRedisClient } from "../../lib/redis.ts";
import { MemoryLog, RedisLog, resume, sse } from "../../mod.ts";
import { generate, query, serve } from "../producers.ts";

const { REDIS = "", PRODUCER } = process.env;
const { Bun } = globalThis as { Bun?: { RedisClient: new (url: string) => BunRedisClient } };

async function connect() {
  if (Bun !== undefined) return bunRedis(new Bun.RedisClient(REDIS));
  const { createClient } = await import("redis");
  const client: unknown = createClient({ url: REDIS }).on("error", console.error);
  return nodeRedis(client as NodeRedisClient);
}

const log = new RedisLog(await connect());
const memory = new MemoryLog();
let begun = 0;

async function begin(request: Request, streamId: string): Promise<Response> {
  const options = { log, streamId, disconnect: "continue", format: "json" } as const;
  const own = new Request("http://localhost/");
  const { body } = await sse(own, () => generate(query(request.url)), options);
  await body!.cancel();
  return new Response(null, { status: 204 });
}

serve(async (request) => {
  const url = new URL(request.url);
  if (url.pathname === "/begin") return begin(request, url.searchParams.get("id")!);
  if (PRODUCER === undefined) {
    const own = url.pathname === "/memory" ? memory : log;
    const asked = query(request.url);
    return sse(request, () => generate(asked), { format: asked.format as "json", log: own });
  }
  const streamId = `stream-${begun++}`;
  await fetch(`${PRODUCER}/begin${url.search}&id=${streamId}`);
  let answer: Response;
  // A producer that begins a thousand at one moment takes its time to write down their names.
  do answer = await resume(request, { log, streamId }); while (answer.status === 404);
  return answer;
});
