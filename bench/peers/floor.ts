/**
 * The floor: the same tokens from the same producers, concatenated and sent as one body, without any streaming.
 * What a stream costs beyond this line is the price of streaming; `json` escapes as a stream would.
 */
import { EVENT_STREAM, feed, generate, iterate, iterates, query, serve } from "../producers.ts";

serve(async (request) => {
  const asked = query(request.url);
  const json = asked.format === "json";
  let body = "";
  const send = (token: string) => {
    body += json ? `data: {"token":${JSON.stringify(token)}}\n\n` : `data: ${token}\n\n`;
  };
  if (iterates(asked.shape)) {
    for await (const token of generate(asked)) send(token);
  } else if (asked.shape === "sync") {
    for (const token of iterate(asked.n)) send(token);
  } else await feed(asked, send);
  return new Response(body, { headers: EVENT_STREAM });
});
