/** h3's `EventStream`, each push awaited where the producer can wait, as in its documentation's example. */
import { EventStream, H3 } from "h3";
import { feed, generate, iterate, iterates, query, serve } from "../producers.ts";

const app = new H3();

app.all("/", (event) => {
  const asked = query(event.req.url);
  const stream = new EventStream(event);
  const write = async () => {
    if (iterates(asked.shape)) {
      for await (const token of generate(asked)) await stream.push(token);
    } else if (asked.shape === "sync") {
      for (const token of iterate(asked.n)) await stream.push(token);
    } else {
      let last: unknown;
      await feed(asked, (token) => last = stream.push(token));
      await last;
    }
    await stream.close();
  };
  write();
  return stream;
});

serve((request) => app.fetch(request) as Promise<Response>);
