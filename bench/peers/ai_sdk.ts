/** The AI SDK's UI message stream, written with its `writer` as its reference page does; one `text-delta` per token. */
import { createUIMessageStream, createUIMessageStreamResponse } from "ai";
import { feed, generate, iterate, iterates, query, serve } from "../producers.ts";

serve((request) => {
  const asked = query(request.url);
  const stream = createUIMessageStream({
    async execute({ writer }) {
      const id = "text-1";
      const write = (delta: string) => writer.write({ type: "text-delta", id, delta });
      writer.write({ type: "text-start", id });
      if (iterates(asked.shape)) {
        for await (const token of generate(asked)) write(token);
      } else if (asked.shape === "sync") {
        for (const token of iterate(asked.n)) write(token);
      } else await feed(asked, write);
      writer.write({ type: "text-end", id });
    },
  });
  return createUIMessageStreamResponse({ stream });
});
