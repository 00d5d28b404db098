/**
 * LangChain's callbacks by their shape: what is called when, and what becomes of the queue. The real
 * package calls them in `tests/interop/`.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Item } from "../../lib/item.ts";
import { AsyncQueue } from "../../lib/pipeline/queue.ts";
import { langChainCallbacks } from "../../lib/sources/langchain.ts";

function make(options = {}) {
  const queue = new AsyncQueue<Item>(options);
  return { queue, callbacks: langChainCallbacks(queue) };
}

test("langChainCallbacks() sends each token, skips empty ones, and the end closes", async () => {
  const { queue, callbacks } = make();
  for (const token of ["", " Hel", "lo\r\n", ""]) callbacks.handleLLMNewToken(token);
  callbacks.handleLLMEnd({ generations: [] });
  assert.equal(queue.state, "closed");
  assert.deepEqual(await Array.fromAsync(queue), [" Hel", "lo\r\n"]);
});

test("langChainCallbacks() asks to be awaited, and a token waits while there is no room", async () => {
  const { queue, callbacks } = make({ highWaterMark: 1 });
  assert.deepEqual([callbacks.awaitHandlers, callbacks.lc_prefer_streaming], [true, true]);
  let state = "waiting";
  const sent = callbacks.handleLLMNewToken("a").then((room) => state = String(room));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(state, "waiting");
  const values = queue[Symbol.asyncIterator]();
  await values.next();
  await sent;
  assert.equal(state, "true");
  await values.return?.();
  assert.equal(await callbacks.handleLLMNewToken("b"), false);
});

test("langChainCallbacks() waits for the end of the outermost run", () => {
  const { queue, callbacks } = make();
  callbacks.handleLLMNewToken("a");
  callbacks.handleLLMEnd({ generations: [] }, "model", "chain");
  callbacks.handleChainEnd({}, "inner", "chain");
  assert.equal(queue.state, "open");
  callbacks.handleLLMError(new Error("tried again by the chain"), "model", "chain");
  callbacks.handleChainError(new Error("tried again by the chain"), "inner", "chain");
  assert.equal(queue.state, "open");
  callbacks.handleChainEnd({}, "chain");
  assert.equal(queue.state, "closed");
});

test("langChainCallbacks() fails the queue with the outermost run's error", () => {
  for (const name of ["handleLLMError", "handleChainError"] as const) {
    const { queue, callbacks } = make();
    const error = new Error("broken");
    callbacks[name](error, "run");
    assert.equal(queue.state, "failed");
    assert.equal(queue.error, error);
  }
});

test("langChainCallbacks() closes with the finish reason and the usage, wherever they stand", () => {
  const usage = { total_tokens: 3 };
  const outputs: [unknown, unknown][] = [
    [
      { generations: [[{ generationInfo: { finish_reason: "stop" } }]] },
      { finishReason: "stop" },
    ],
    [
      {
        generations: [[{
          message: { usage_metadata: usage, response_metadata: { finish_reason: "length" } },
        }]],
      },
      { finishReason: "length", usage },
    ],
    [{ generations: [[{}]], llmOutput: { tokenUsage: usage } }, { usage }],
    [{ generations: [[{ generationInfo: { finish_reason: 7 } }]], llmOutput: null }, {}],
    [{ generations: [] }, {}],
    [null, {}],
    [undefined, {}],
  ];
  for (const [output, summary] of outputs) {
    const { queue, callbacks } = make();
    callbacks.handleLLMEnd(output);
    assert.deepEqual(queue.summary, summary, JSON.stringify(output));
  }
  const { queue, callbacks } = make();
  callbacks.handleLLMEnd(outputs[0]![0], "model", "chain");
  callbacks.handleChainEnd({}, "chain");
  assert.deepEqual(queue.summary, { finishReason: "stop" });
});
