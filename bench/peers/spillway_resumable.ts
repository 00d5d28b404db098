/** Spillway with a replay log: the same streams, each event with an id, kept as long as the log has room. */
import { MemoryLog, sse } from "../../mod.ts";
import { corpus, feed, generate, iterate, iterates, query, serve } from "../producers.ts";

const log = new MemoryLog();

serve((request) => {
  const asked = query(request.url);
  const { format, n, shape } = asked;
  if (shape === "generator") {
    return sse(request, async function* () {
      for (let i = 0; i < asked.n; i++) yield corpus.token(i);
    }, { format, log });
  }
  if (iterates(shape)) return sse(request, () => generate(asked), { format, log });
  if (shape === "sync") return sse(request, iterate(n), { format, log });
  return sse(request, ({ queue }) => feed(asked, (token) => queue.send(token)), { format, log });
});
