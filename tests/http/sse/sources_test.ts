/** `sse()`: the kinds of sources, and what a source is given. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AsyncQueue, type Source, sse } from "../../../mod.ts";
import { collect } from "../../../lib/testing.ts";
import { counting, get, post, recorded } from "./setup.ts";

test("sse() takes a source through any number of functions and promises", async () => {
  const opened = counting();
  const queue = () => {
    const own = new AsyncQueue<string>();
    own.send("a");
    own.close();
    return own;
  };
  const kinds: Record<string, Source<undefined>> = {
    "a string": "a",
    "a function that answers a string": () => "a",
    "a promise of a string": () => Promise.resolve("a"),
    "a function that answers a function": () => () => Promise.resolve(() => ["a"]),
    "a promise of a generator": () =>
      Promise.resolve((function* () {
        yield "a";
      })()),
    "a set": new Set(["a"]),
    "a queue": queue(),
    "a promise of a queue": () => Promise.resolve(queue()),
    "the context's queue": ({ queue }) => {
      queue.send("a");
      setTimeout(() => queue.close(), 0);
      return queue;
    },
    "a ReadableStream": () =>
      new ReadableStream<string>({
        start(controller) {
          controller.enqueue("a");
          controller.close();
        },
      }),
    "a plain function that only registers listeners": ({ queue }) => {
      setTimeout(() => {
        queue.send("a");
        queue.close();
      }, 0);
    },
  };
  for (const [kind, source] of Object.entries(kinds)) {
    const { text, end, summary } = await collect(sse(post(), source));
    assert.deepEqual([text, end, summary], ["a", "completed", { tokens: 1 }], kind);
  }
  assert.deepEqual(opened(), {});
});

test("sse() never iterates a string by character", async () => {
  const { items, end } = await collect(sse(post(), () => "Hello"));
  assert.deepEqual([items, end], [["Hello"], "completed"]);
});

test("sse() gives the source its context", async () => {
  const request = get({ "last-event-id": "7" });
  const { options, reports } = recorded();
  let streamId = "";
  const response = await sse(request, (context) => {
    assert.equal(context.request, request);
    assert.equal(context.input, undefined);
    assert.equal(context.lastEventId, "7");
    assert.ok(context.signal instanceof AbortSignal && !context.signal.aborted);
    assert.equal(context.signal, context.queue.signal);
    streamId = context.streamId;
    return "a";
  }, options);
  await response.text();
  assert.match(streamId, /^[\w-]{22}$/);
  assert.equal(reports[0]!.streamId, streamId);
});
