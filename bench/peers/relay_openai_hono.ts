/** The `openai` package's stream, written again by Hono's `streamSSE`, as the documentation of both does it. */
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import OpenAI from "openai";
import { baseOf } from "../cases/relay.ts";
import { serve } from "../producers.ts";

const clients = new Map<string, OpenAI>();
const app = new Hono();

function clientOf(url: string): OpenAI {
  const client = clients.get(url) ?? new OpenAI({ baseURL: baseOf(url), apiKey: "none" });
  clients.set(url, client);
  return client;
}

app.all("/", (c) =>
  streamSSE(c, async (stream) => {
    const chunks = await clientOf(c.req.url).chat.completions.create({
      model: "m",
      stream: true,
      messages: [{ role: "user", content: "Hello?" }],
    });
    stream.onAbort(() => chunks.controller.abort());
    for await (const chunk of chunks) {
      const data = chunk.choices[0]?.delta.content;
      if (data) await stream.writeSSE({ data });
    }
  }));

serve((request) => app.fetch(request));
