/**
 * better-sse's sessions with its defaults: JSON data, `event:` and `id:` lines. (Raw text would lose a token's leading space.)
 * A session has no server-side end, so the connection object is ours and is closed; keep-alive timers are off for that reason.
 */
import { createResponse, FetchConnection } from "better-sse";
import { feed, generate, iterate, iterates, query, serve } from "../producers.ts";

const options = { keepAlive: null };

serve((request) => {
  const asked = query(request.url);
  const connection = new FetchConnection(request, null, options);
  return createResponse(connection, options, async (session) => {
    if (iterates(asked.shape)) {
      for await (const token of generate(asked)) session.push(token);
    } else if (asked.shape === "sync") {
      for (const token of iterate(asked.n)) session.push(token);
    } else await feed(asked, (token) => session.push(token));
    connection.cleanup();
  });
});
