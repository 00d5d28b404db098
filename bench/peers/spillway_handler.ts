/** `createHandler` with every option at its default: access, body, schema, log and metrics around each stream. */
import { createHandler } from "../../mod.ts";
import { corpus, query, serve } from "../producers.ts";

async function* model(n: number, signal: AbortSignal): AsyncGenerator<string, void> {
  for (let i = 0; i < n; i++) {
    if (signal.aborted) return; // the client disconnected: stop paying
    yield corpus.token(i);
  }
}

const handler = createHandler({
  source: ({ input, signal }) => model(Number(input.query), signal),
});
const headers = { "content-type": "application/json", accept: "text/event-stream" };

// The load generator sends no bodies: what it asks is sent on as the body of a POST.
serve((request) => {
  const body = JSON.stringify({ query: String(query(request.url).n) });
  const url = new URL("/streaming", request.url);
  return handler.fetch(new Request(url, { method: "POST", headers, body }));
});
