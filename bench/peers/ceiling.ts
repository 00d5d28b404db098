/** The ceiling: a body that was encoded before the first request, so nothing is left but the server's own writing. */
import { EVENT_STREAM, iterate, query, serve } from "../producers.ts";

const bodies = new Map<number, Uint8Array<ArrayBuffer>>();

serve((request) => {
  const { n } = query(request.url);
  let body = bodies.get(n);
  if (body === undefined) {
    let events = "";
    for (const token of iterate(n)) events += `data: ${token}\n\n`;
    bodies.set(n, body = new TextEncoder().encode(events));
  }
  return new Response(body, { headers: EVENT_STREAM });
});
