/** What is special to LangChain: a message's usage, tool calls and ways to leave. */
import assert from "node:assert/strict";
import test, { after, before, beforeEach } from "node:test";
import { type AIMessageChunk, HumanMessage, ToolMessage } from "@langchain/core/messages";
import { chat } from "./clients/langchain.ts";
import { assertNoticed, MODEL, type Scenes, startScenes } from "./server.ts";

let server: Scenes;
before(() => {
  server = startScenes();
});
beforeEach(() => {
  server.errors.length = 0;
});
after(() => server.close());

async function joined(scene: string): Promise<AIMessageChunk> {
  const chunks = await Array.fromAsync(await chat(server.url).stream(scene));
  return chunks.reduce((all, chunk) => all.concat(chunk));
}

test("langchain: reasoning, tool calls and usage are the source's, streamed and whole", async () => {
  for (
    const message of [
      await joined("rich"),
      await chat(server.url).invoke("rich"),
    ]
  ) {
    assert.equal(message.text, "I ask.");
    assert.equal(
      message.additional_kwargs.reasoning_content,
      "The weather, so a tool.",
    );
    const calls = message.tool_calls?.map((
      { id, name, args },
    ) => [id, name, args]);
    assert.deepEqual(calls, [["call_a", "weather", { city: "東京" }], [
      "call_b",
      "time",
      {},
    ]]);
    const { input_tokens, output_tokens, total_tokens } = message
      .usage_metadata!;
    assert.deepEqual([input_tokens, output_tokens, total_tokens], [3, 5, 8]);
    assert.equal(message.response_metadata.finish_reason, "tool_calls");
    assert(String(message.response_metadata.model_name).startsWith(MODEL));
  }
});

test("langchain: tool results reach the source", async () => {
  const human = new HumanMessage("rich");
  const asking = await chat(server.url).invoke([human]);
  const results = asking.tool_calls!.map(({ id, name, args }) =>
    new ToolMessage({ tool_call_id: id!, content: `${name} ${JSON.stringify(args)}` })
  );
  const message = await chat(server.url).invoke([human, asking, ...results]);
  assert.equal(message.text, 'The tools say: weather {"city":"東京"}, time {}');
});

test("langchain: a break out of the loop reaches the source within 100 ms", async () => {
  await assertNoticed(server, async () => {
    let leftMs = 0;
    let chunks = 0;
    for await (const _ of await chat(server.url).stream("endless")) {
      leftMs = performance.now();
      if (++chunks > 4) break;
    }
    return leftMs;
  });
});
