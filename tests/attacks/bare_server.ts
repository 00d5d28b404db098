/**
 * The bare control: what a runtime's own server takes for the same streams. One `ReadableStream` each,
 * which writes a token per pull, and nothing of Spillway. Runs on Bun and Deno.
 */
import process from "node:process";
import { controlled, emptyState } from "./support/control.ts";
import { serveBare } from "./support/serve_bare.ts";
import { tokensOf } from "./support/tokens.ts";

const state = emptyState();
const encoder = new TextEncoder();

function stream(query: string): Response {
  const signal = { aborted: false };
  const tokens = tokensOf(query, signal);
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await tokens.next();
      if (done) {
        controller.enqueue(encoder.encode("event: done\ndata: {}\n\n"));
        controller.close();
      } else controller.enqueue(encoder.encode(`data: ${JSON.stringify({ token: value })}\n\n`));
    },
    cancel() {
      signal.aborted = true;
      tokens.return();
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

/** Reads a body into a buffer of its own, where the runtime can, and otherwise chunk by chunk. */
async function textOf(body: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let byob: ReadableStreamBYOBReader;
  try {
    byob = body.getReader({ mode: "byob" });
  } catch {
    // Bun's bodies are no byte streams.
    for await (const chunk of body) text += decoder.decode(chunk, { stream: true });
    return text;
  }
  let room = new ArrayBuffer(64 * 1024);
  for (;;) {
    const { done, value } = await byob.read(new Uint8Array(room));
    if (done) return text;
    text += decoder.decode(value, { stream: true });
    room = value.buffer as ArrayBuffer;
  }
}

const port = serveBare(controlled(async (request) => {
  const url = new URL(request.url);
  if (url.pathname === "/health") return new Response("ok");
  const query = url.searchParams.get("query");
  return stream(query ?? JSON.parse(await textOf(request.body!)).query);
}, state));
console.log(`port ${port}`);
// Whoever started this is gone, however they went.
process.stdin.on("end", () => process.exit(1)).resume();
