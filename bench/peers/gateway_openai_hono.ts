/** The `openai` package's chunks, written again by Hono's `streamSSE`, as the documentation of both does it. */
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import OpenAI from "openai";
import { upstreamURL } from "../cases/gateway.ts";
import { serve } from "../producers.ts";

const client = new OpenAI({ baseURL: upstreamURL(), apiKey: "none" });
const app = new Hono();

app.post("/v1/chat/completions", async (c) => {
  const asked = await c.req.json<OpenAI.ChatCompletionCreateParamsStreaming>();
  return streamSSE(c, async (stream) => {
    const chunks = await client.chat.completions.create(asked);
    stream.onAbort(() => chunks.controller.abort());
    for await (const chunk of chunks) await stream.writeSSE({ data: JSON.stringify(chunk) });
    await stream.writeSSE({ data: "[DONE]" });
  });
});

serve((request) => app.fetch(request));
