/** Elysia's generator handlers with its `sse` helper; it has no push interface, so only iterables are measured. */
import { Elysia, sse } from "elysia";
import { generate, iterate, port, query, ready } from "../producers.ts";

new Elysia()
  .all("/", async function* ({ request }) {
    for await (const token of generate(query(request.url))) yield sse(token);
  })
  .all("/sync", function* ({ request }) {
    for (const token of iterate(query(request.url).n)) yield sse(token);
  })
  .listen({ port, hostname: "127.0.0.1", idleTimeout: 0 }, ready);
