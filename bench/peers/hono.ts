/** Hono's `streamSSE`, each `writeSSE` awaited as its documentation does (an un-awaited one followed by return delivers nothing). */
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { feedWaiting, generate, iterate, iterates, query, serve } from "../producers.ts";

const app = new Hono();

app.all("/", (c) => {
  const asked = query(c.req.url);
  return streamSSE(c, async (stream) => {
    if (iterates(asked.shape)) {
      for await (const data of generate(asked)) await stream.writeSSE({ data });
    } else if (asked.shape === "sync") {
      for (const data of iterate(asked.n)) await stream.writeSSE({ data });
    } else await feedWaiting(asked, (data) => stream.writeSSE({ data }));
  });
});

serve((request) => app.fetch(request));
