/**
 * The bare control of the soak: passes on what the same upstream sends, a chunk per pull, with nothing of
 * Spillway. Runs on Bun and Deno. `ATTACK` in its environment has the upstream's URL as JSON.
 */
import process from "node:process";
import { controlled, emptyState } from "./support/control.ts";
import { serveBare } from "./support/serve_bare.ts";
import type { AttackSettings } from "./support/victim.ts";

const { upstream } = JSON.parse(process.env["ATTACK"] ?? "{}") as AttackSettings;

const port = serveBare(controlled(async (request) => {
  const { query } = await request.json() as { query: string };
  const [model = "", ...words] = query.split(" ");
  const abort = new AbortController();
  let answer: Response;
  try {
    answer = await fetch(`${upstream}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model: `mock:${model}`,
        stream: true,
        messages: [{ role: "user", content: words.join(" ") }],
      }),
      signal: AbortSignal.any([abort.signal, AbortSignal.timeout(20_000)]),
    });
  } catch {
    return new Response("The upstream broke", { status: 502 });
  }
  const reader = answer.body!.getReader();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch {
        controller.close(); // It broke in the middle.
      }
    },
    cancel: () => abort.abort(),
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}, emptyState()));
console.log(`port ${port}`);
// Whoever started this is gone, however they went.
process.stdin.on("end", () => process.exit(1)).resume();
