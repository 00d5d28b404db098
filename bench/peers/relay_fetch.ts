/** The upstream's body passed on as it is: nothing is parsed, no truncation or error is noticed. */
import { baseOf } from "../cases/relay.ts";
import { EVENT_STREAM, serve } from "../producers.ts";

const body = JSON.stringify({
  model: "m",
  stream: true,
  messages: [{ role: "user", content: "Hello?" }],
});
const headers = { "content-type": "application/json" };

serve(async ({ url, signal }) => {
  const upstream = await fetch(`${baseOf(url)}/chat/completions`, {
    method: "POST",
    headers,
    body,
    signal,
  });
  return new Response(upstream.body, { headers: EVENT_STREAM });
});
