/** What the compiler must say of sources, items and queues: checked by `tsc` and never run. */
import {
  AsyncQueue,
  echo,
  type Item,
  langChainCallbacks,
  openai,
  relay,
  type Source,
  type SourceContext,
  sse,
  StreamError,
  type Summary,
} from "spillway";
import { script } from "spillway/testing";
import { holds, type Same } from "./same.ts";

declare const request: Request;
declare const upstream: Response;
declare const stream: ReadableStream<string>;
declare const emitter: { on(name: string, listener: (token: string) => void): void };

// Every kind of source.
sse(request, "one token");
sse(request, ["a", { event: "note", data: 1 }, { data: [] }, null, undefined]);
sse(request, new Set(["a"]));
sse(request, stream);
sse(request, new AsyncQueue());
sse(request, new AsyncQueue<string>());
sse(request, Promise.resolve(["a"]));
sse(request, relay(upstream));
sse(request, relay(Promise.resolve(upstream), { end: () => "completed" }));
sse(request, script(["a"]));
sse(request, openai({ baseURL: "http://localhost", model: "m", messages: () => [] }));
sse(request, function* () {
  yield "a";
});
sse(request, async function* ({ signal }) {
  if (!signal.aborted) yield { event: "note", data: { n: 1 } };
  return { finishReason: "stop", usage: { output_tokens: 1 } };
});
sse(request, async ({ queue }) => {
  await queue.send("a");
});
sse(request, ({ queue }) => emitter.on("token", (token) => queue.send(token)));
sse(request, () => relay(fetch("http://localhost")));
sse(request, async () => await Promise.resolve(["a"]));

// What a source is given.
sse(request, (context) => {
  holds<Same<typeof context, SourceContext<undefined>>>();
  holds<Same<typeof context.queue, AsyncQueue<Item>>>();
  holds<Same<typeof context.signal, AbortSignal>>();
  holds<Same<typeof context.lastEventId, string | undefined>>();
});
holds<Same<ReturnType<typeof sse>, Promise<Response>>>();
const echoed: Source<{ query: string }> = echo({ delayMs: 1 });
void echoed;

// A queue.
const queue = new AsyncQueue();
holds<Same<ReturnType<typeof queue.send>, Promise<boolean>>>();
queue.close({ finishReason: "stop" });
langChainCallbacks(queue);
const summary: Summary = { usage: { tokens: 1 } };
void summary;

// @ts-expect-error the wrong way round
sse(["a"], request);
// @ts-expect-error a bare response: `relay(response)` is the source
sse(request, upstream);
// @ts-expect-error a promise of one, likewise
sse(request, fetch("http://localhost"));
// @ts-expect-error and what returns one
sse(request, () => fetch("http://localhost"));
// @ts-expect-error there is no source
sse(request);
// @ts-expect-error a number is no source
sse(request, 1);
// @ts-expect-error nor an item
sse(request, [1]);
// @ts-expect-error an item has data
sse(request, [{ event: "note" }]);
// @ts-expect-error the name of an event is a string
sse(request, [{ event: 1, data: 1 }]);
// @ts-expect-error an item that is sent is a string, or has data
sse(request, ({ queue }) => void queue.send(1));
// @ts-expect-error a summary has other fields
queue.close({ reason: "stop" });
// @ts-expect-error nobody has checked an input under `sse`
sse(request, ({ input }) => input.query);
// @ts-expect-error nor does the echo get a query there
sse(request, echo());
// @ts-expect-error a model is missing
openai({ baseURL: "http://localhost" });
// @ts-expect-error the SDKs' casing
openai({ baseUrl: "http://localhost", model: "m" });
openai({
  baseURL: "http://localhost",
  model: "m",
  // @ts-expect-error -- a fallback needs a model as well
  fallback: [{ baseURL: "http://localhost" }],
});
openai({
  baseURL: "http://localhost",
  model: "m",
  // @ts-expect-error -- limits are those of all upstreams
  fallback: [{ baseURL: "http://localhost", model: "m", retries: 1 }],
});
// @ts-expect-error neither of the two ends
relay(upstream, { end: () => "done" });
// @ts-expect-error a status is a number
new StreamError("quota", { status: "429" });
