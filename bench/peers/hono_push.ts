/** Hono's `streamSSE` fed from callbacks, which cannot wait: what a stalled client then costs. Measured in memory only. */
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { feed, query, serve } from "../producers.ts";

const app = new Hono();

app.all("/", (c) => {
  const asked = query(c.req.url);
  return streamSSE(c, async (stream) => {
    let last: unknown;
    await feed(asked, (data) => last = stream.writeSSE({ data }));
    await last;
  });
});

serve((request) => app.fetch(request));
