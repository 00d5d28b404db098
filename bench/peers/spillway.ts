/** Spillway itself, the subject of the benchmark, on Bun and on Deno with the same file, with every feature at its default. */
import { sse } from "../../mod.ts";
import { feed, generate, iterate, iterates, query, serve } from "../producers.ts";

serve((request) => {
  const asked = query(request.url);
  const { format, n, shape } = asked;
  if (iterates(shape)) return sse(request, () => generate(asked), { format });
  if (shape === "sync") return sse(request, iterate(n), { format });
  return sse(request, ({ queue }) => feed(asked, (token) => queue.send(token)), { format });
});
