/** The upstream's body passed on as it is: nothing is parsed, no truncation or error is noticed. */
import { upstreamURL } from "../cases/gateway.ts";
import { EVENT_STREAM, serve } from "../producers.ts";

const upstream = `${upstreamURL()}/chat/completions`;
const headers = { "content-type": "application/json" };

serve(async (request) => {
  const { signal } = request;
  const body = await request.text();
  const answer = await fetch(upstream, { method: "POST", headers, body, signal });
  return new Response(answer.body, { headers: EVENT_STREAM });
});
