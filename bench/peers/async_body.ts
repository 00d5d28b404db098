/** An async generator as the body of a `Response`, which Bun accepts with strings (Deno wants bytes, and refuses these). */
import { EVENT_STREAM, generate, query, serve } from "../producers.ts";

serve((request) => {
  const asked = query(request.url);
  async function* events() {
    for await (const token of generate(asked)) yield `data: ${token}\n\n`;
  }
  return new Response(events() as unknown as BodyInit, { headers: EVENT_STREAM });
});
