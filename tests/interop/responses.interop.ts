/**
 * What is special to the Responses API: its life in the log, by the `openai` package, and tools, by all of
 * its clients. What every client does is in `clients.interop.ts`.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { Agent, tool } from "@openai/agents";
import { jsonSchema, stepCountIs, streamText, tool as aiTool } from "ai";
import OpenAI from "openai";
import { MODELS, runner } from "./clients/responses.ts";
import { openai } from "./clients/openai.ts";
import { assertNothingLeft, MODEL, type Scenes, startScenes, TEXT } from "./server.ts";

let server: Scenes;
let client: OpenAI;
before(() => {
  server = startScenes();
  client = openai(server.url);
});
after(() => server.close());

const asked = (input: string) => ({ model: MODEL, input });
const SAID = 'The tools say: sunny {"city":"東京"}, noon {}';

test("openai: a response in the background is read, resumed from each event, and read once more", async () => {
  const { id, status } = await client.responses.create({ ...asked("hostile"), background: true });
  assert.equal(status, "queued");
  const all = await Array.fromAsync(await client.responses.retrieve(id, { stream: true }));
  const rest = (after: number) =>
    client.responses.retrieve(id, { stream: true, starting_after: after });
  for (const after of [0, 4, all.length - 2, all.length - 1, 10_000]) {
    assert.deepEqual(await Array.fromAsync(await rest(after)), all.slice(after + 1));
  }
  const helper = client.responses.stream({ response_id: id, starting_after: 4 });
  const numbers: number[] = [];
  helper.on("event", ({ sequence_number }) => numbers.push(sequence_number));
  assert.equal((await helper.finalResponse()).output_text, TEXT);
  assert.deepEqual(numbers, all.slice(5).map(({ sequence_number }) => sequence_number));
  assert.equal((await client.responses.retrieve(id)).output_text, TEXT);
  await client.responses.delete(id);
  await assert.rejects(client.responses.retrieve(id), OpenAI.NotFoundError);
  await assertNothingLeft();
});

test("openai: cancel() ends what another request reads, and .stream() returns it as cancelled", async () => {
  const reading = client.responses.stream(asked("endless"));
  let id = "";
  reading.on("response.created", ({ response }) => id = response.id);
  await reading.emitted("response.output_text.delta");
  const cancelled = await client.responses.cancel(id);
  assert.equal(cancelled.status, "cancelled");
  const final = await reading.finalResponse();
  assert.equal(final.status, "cancelled");
  const textOf = (response: object) => /"text":"([^"]*)"/.exec(JSON.stringify(response))?.[1];
  assert.equal(textOf(final.output), textOf(cancelled.output));
  assert.equal((await client.responses.cancel(id)).status, "cancelled");
  await assertNothingLeft();
});

test("openai: reasoning, text and calls are items of the response, streamed or not", async () => {
  const whole = await client.responses.create(asked("rich"));
  const streamed = await client.responses.stream(asked("rich")).finalResponse();
  for (const { output, output_text, usage } of [whole, streamed]) {
    assert.deepEqual(output.map(({ type }) => type), [
      "reasoning",
      "message",
      "function_call",
      "function_call",
    ]);
    assert.equal(output_text, "I ask.");
    assert.deepEqual([usage?.input_tokens, usage?.output_tokens, usage?.total_tokens], [3, 5, 8]);
    const calls = output.flatMap((item) =>
      item.type === "function_call" ? [[item.call_id, item.name, item.arguments]] : []
    );
    assert.deepEqual(calls, [["call_a", "weather", '{"city":"東京"}'], ["call_b", "time", "{}"]]);
  }
  const cut = await client.responses.stream(asked("items")).finalResponse();
  assert.deepEqual([cut.status, cut.incomplete_details], ["incomplete", {
    reason: "max_output_tokens",
  }]);
  await assertNothingLeft();
});

test("@openai/agents go round the loop, and the results reach the source", async () => {
  const named = (name: string, answer: string) =>
    tool({
      name,
      description: name,
      parameters: { type: "object", properties: {}, required: [], additionalProperties: true },
      strict: false,
      execute: (input) => `${answer} ${JSON.stringify(input)}`,
    });
  const tools = [named("weather", "sunny"), named("time", "noon")];
  const agent = new Agent({ name: "Test", model: MODEL, tools });
  assert.equal((await runner(server.url).run(agent, "rich")).finalOutput, SAID);
  const streamed = await runner(server.url).run(agent, "rich", { stream: true });
  await streamed.completed;
  assert.equal(streamed.finalOutput, SAID);
  await assertNothingLeft();
});

for (const [name, model] of Object.entries(MODELS)) {
  test(`${name} goes round the loop, and the results reach the source`, async () => {
    const named = (answer: string) =>
      aiTool({
        inputSchema: jsonSchema<object>({ type: "object" }),
        execute: (input) => `${answer} ${JSON.stringify(input)}`,
      });
    const result = streamText({
      model: model(server.url),
      prompt: "rich",
      tools: { weather: named("sunny"), time: named("noon") },
      stopWhen: stepCountIs(2),
      maxRetries: 0,
    });
    const steps = await result.steps;
    assert.deepEqual(steps.map(({ finishReason }) => finishReason), ["tool-calls", "stop"]);
    assert.equal(steps[0]!.reasoningText, "The weather, so a tool.");
    assert.equal(await result.text, SAID);
    await assertNothingLeft();
  });
}
