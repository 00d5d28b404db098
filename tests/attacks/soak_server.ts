/**
 * The server of the soak: a handler that relays an upstream which breaks as its query's first word says.
 * `ATTACK` in its environment has the upstream's URL as JSON.
 */
import process from "node:process";
import { active } from "../../lib/counters.ts";
import { createHandler } from "../../lib/full_handler.ts";
import type { SourceContext } from "../../lib/pipeline/pump.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { listen } from "../../lib/server/listen.ts";
import { openai } from "../../lib/sources/openai.ts";

const { upstream } = JSON.parse(process.env["ATTACK"] ?? "{}") as { upstream: string };
const runtime = globalThis as { Bun?: { gc(force: boolean): void }; gc?(): void };

function relay(context: SourceContext<{ query: string }>) {
  const [model = "", ...words] = context.input.query.split(" ");
  return openai({
    baseURL: upstream,
    model: `mock:${model}`,
    apiKey: "key",
    messages: () => [{ role: "user", content: words.join(" ") }],
    headTimeoutMs: 4000,
    firstTokenTimeoutMs: 4000,
    tokenTimeoutMs: 4000,
  })(context as never);
}

const handler = createHandler({
  source: relay,
  log: new MemoryLog({ keepMs: 20_000 }),
  disconnect: { continueForMs: 20_000 },
  stallMs: 20_000,
  heartbeatMs: 500,
  onError: () => {}, // Its upstream breaks all the time.
});
const thrown: string[] = [];
const served = await listen(
  async (request, info) => {
    try {
      if (!request.headers.has("x-control")) return await handler.fetch(request, info);
      for (let i = 0; i < 3; i++) {
        runtime.Bun?.gc(true);
        runtime.gc?.();
      }
      const { rss, heapUsed } = process.memoryUsage();
      return Response.json({ active, thrown, rssBytes: rss, heapBytes: heapUsed });
    } catch (error) {
      thrown.push(String(error));
      return new Response("thrown", { status: 500 });
    }
  },
  { hostname: "127.0.0.1", port: 0 },
  (error) => thrown.push(String(error)),
);
console.log(`port ${served.port}`);
process.stdin.on("end", () => process.exit(1)).resume();
