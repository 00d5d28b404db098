/** `res.write` of node:http, one per token, as Express handlers do; it waits for `drain` where the shape lets it wait. */
import { once } from "node:events";
import { createServer } from "node:http";
import {
  EVENT_STREAM,
  feed,
  generate,
  iterate,
  iterates,
  port,
  query,
  ready,
} from "../producers.ts";

createServer(async (request, response) => {
  const asked = query(request.url ?? "/");
  response.writeHead(200, EVENT_STREAM);
  if (iterates(asked.shape)) {
    for await (const token of generate(asked)) {
      if (!response.write(`data: ${token}\n\n`)) await once(response, "drain");
    }
  } else if (asked.shape === "sync") {
    for (const token of iterate(asked.n)) {
      if (!response.write(`data: ${token}\n\n`)) await once(response, "drain");
    }
  } else await feed(asked, (token) => response.write(`data: ${token}\n\n`));
  response.end();
}).listen(port, "127.0.0.1", ready);
