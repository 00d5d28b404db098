/** A process that relays the upstream it is given, and says how much memory it took. */
import process from "node:process";
import { active, type ActiveCounts } from "../../../lib/counters.ts";
import { sse } from "../../../lib/http/sse.ts";
import { openai } from "../../../lib/sources/openai.ts";
import { serve } from "../serve.ts";

/** What the process says of itself. */
export interface Report {
  active: ActiveCounts;
  /** Resident bytes: the most since the last report, and now, after a collection. */
  highestBytes: number;
  nowBytes: number;
}

const baseURL = process.argv[2]!;
const { gc, Bun } = globalThis as { gc?: () => void; Bun?: { gc(sync: boolean): void } };
let highestBytes = 0;

function measure(): number {
  const { rss } = process.memoryUsage();
  highestBytes = Math.max(highestBytes, rss);
  return rss;
}

function report(): Report {
  measure();
  const highest = highestBytes;
  if (Bun) Bun.gc(true);
  else gc?.();
  highestBytes = 0;
  return { active, highestBytes: highest, nowBytes: measure() };
}

const server = serve((request) => {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/report") return Response.json(report());
  const source = openai<undefined>({
    baseURL,
    model: searchParams.get("model") ?? "mock",
    messages: () => [{ role: "user", content: "Streaming responseのテスト" }],
    tokenTimeoutMs: 1500,
  });
  return sse(request, source, { onError: () => {} });
});
setInterval(measure, 2);
console.log(`port ${server.port}`);
