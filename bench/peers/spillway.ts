/** Spillway itself, the subject of the benchmark, on Bun and on Deno with the same file, with every feature at its default. */
import { sse } from "../../mod.ts";
import { corpus, feed, generate, iterate, iterates, query, serve } from "../producers.ts";

serve((request) => {
  const asked = query(request.url);
  const { format, n, shape } = asked;
  if (shape === "generator") {
    return sse(request, async function* () {
      for (let i = 0; i < asked.n; i++) yield corpus.token(i);
    }, { format });
  }
  if (iterates(shape)) return sse(request, () => generate(asked), { format });
  if (shape === "sync") return sse(request, iterate(n), { format });
  return sse(request, ({ queue }) => feed(asked, (token) => queue.send(token)), { format });
});
