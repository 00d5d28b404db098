/** Bun's own `type: "direct"` stream, its fastest documented way to write a response; it exists on no other runtime. */
import { EVENT_STREAM, feed, generate, iterate, iterates, query, serve } from "../producers.ts";

type Sink = { write(chunk: string): unknown; flush(): unknown; close(): void };

serve((request) => {
  const asked = query(request.url);
  const source = {
    type: "direct",
    async pull(sink: Sink) {
      if (iterates(asked.shape)) {
        for await (const token of generate(asked)) await sink.write(`data: ${token}\n\n`);
      } else if (asked.shape === "sync") {
        for (const token of iterate(asked.n)) sink.write(`data: ${token}\n\n`);
      } else await feed(asked, (token) => sink.write(`data: ${token}\n\n`));
      sink.close();
    },
  };
  return new Response(new ReadableStream(source as unknown as UnderlyingDefaultSource), {
    headers: EVENT_STREAM,
  });
});
