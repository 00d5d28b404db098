/**
 * A bare `ReadableStream` as most tutorials write it: iterables are pulled, callbacks enqueue; one encode per token.
 * It has no queue of its own, so callbacks push into the controller without a bound.
 */
import { EVENT_STREAM, feed, generate, iterate, iterates, query, serve } from "../producers.ts";

const encoder = new TextEncoder();
const frame = (token: string) => encoder.encode(`data: ${token}\n\n`);

serve((request) => {
  const asked = query(request.url);
  return new Response(body(asked), { headers: EVENT_STREAM });
});

function body(asked: ReturnType<typeof query>): ReadableStream<Uint8Array> {
  if (iterates(asked.shape)) {
    const tokens = generate(asked);
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await tokens.next();
        if (done) controller.close();
        else controller.enqueue(frame(value));
      },
      async cancel() {
        await tokens.return();
      },
    });
  }
  if (asked.shape === "sync") {
    const tokens = iterate(asked.n);
    return new ReadableStream({
      pull(controller) {
        const { done, value } = tokens.next();
        if (done) controller.close();
        else controller.enqueue(frame(value));
      },
    });
  }
  return new ReadableStream({
    async start(controller) {
      await feed(asked, (token) => controller.enqueue(frame(token)));
      controller.close();
    },
  });
}
