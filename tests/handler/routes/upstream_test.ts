/** What an upstream of `openai()` is sent of each chat route's request: the whole way in. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler, openai } from "../../../mod.ts";
import { post } from "../../support/handler_requests.ts";
import { serve } from "../../support/serve.ts";

// deno-lint-ignore no-explicit-any -- bodies of every shape
type Json = any;

const call = { id: "c1", type: "function", function: { name: "f", arguments: "{}" } };
const extra_content = { google: { thought_signature: "s" } };
const image = { type: "base64", media_type: "image/png", data: "AAAA" };

/** The request of each route, and the fields of it that the upstream has to get. */
const TABLE: Record<string, [request: Json, sent: Json]> = {
  "/v1/chat/completions": [
    {
      model: "m",
      max_tokens: -1,
      tools: [],
      tool_choice: "auto",
      messages: [
        { role: "user", content: "Hi" },
        { role: "assistant", content: null, tool_calls: [{ ...call, extra_content }] },
        { role: "tool", tool_call_id: "c1", content: "1" },
      ],
    },
    {
      messages: [
        { role: "user", content: "Hi" },
        { role: "assistant", content: null, tool_calls: [{ ...call, extra_content }] },
        { role: "tool", tool_call_id: "c1", content: "1" },
      ],
    },
  ],
  "/v1/messages": [
    {
      model: "m",
      max_tokens: 2000,
      thinking: { type: "enabled", budget_tokens: 1024 },
      output_config: { format: { type: "json_schema", schema: {} } },
      tools: [{ name: "f", input_schema: {}, cache_control: {} }],
      tool_choice: { type: "any" },
      messages: [
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "hm", signature: "s" },
            { type: "tool_use", id: "c1", name: "f", input: {} },
          ],
        },
        {
          role: "user",
          content: [{
            type: "tool_result",
            tool_use_id: "c1",
            is_error: true,
            content: [{ type: "text", text: "Too dark" }, { type: "image", source: image }],
          }],
        },
      ],
    },
    {
      max_tokens: 2000,
      reasoning_effort: "low",
      response_format: {
        type: "json_schema",
        json_schema: { name: "output", schema: {}, strict: true },
      },
      tools: [{ type: "function", function: { name: "f", parameters: {} } }],
      tool_choice: "required",
      messages: [
        { role: "assistant", content: null, reasoning_content: "hm", tool_calls: [call] },
        {
          role: "tool",
          tool_call_id: "c1",
          content: "Error: Too dark\n(The rest of the result is in the user's next message.)",
        },
        {
          role: "user",
          content: [
            { type: "text", text: "What the tool call c1 returned:" },
            {
              type: "image_url",
              image_url: { url: ["data", "image/png;base64,AAAA"].join(":") },
            },
          ],
        },
      ],
    },
  ],
  "/api/chat": [
    {
      messages: [{
        role: "assistant",
        parts: [
          { type: "reasoning", text: "hm" },
          {
            type: "tool-f",
            toolCallId: "c1",
            state: "approval-responded",
            input: {},
            approval: { id: "x", approved: false, reason: "Not now" },
          },
        ],
      }],
    },
    {
      messages: [
        { role: "assistant", content: null, reasoning_content: "hm", tool_calls: [call] },
        {
          role: "tool",
          tool_call_id: "c1",
          content: "The user denied this tool call: Not now",
        },
      ],
    },
  ],
};

for (const [path, [request, sent]] of Object.entries(TABLE)) {
  test(`an upstream gets what POST ${path} was sent, in the words of chat completions`, async () => {
    const bodies: Json[] = [];
    const upstream = serve(async (request) => {
      bodies.push(await request.json());
      const chunk = { choices: [{ index: 0, delta: { content: "ok" }, finish_reason: "stop" }] };
      const events = [JSON.stringify(chunk), "[DONE]"];
      const text = events.map((event) => ["data", ` ${event}\n\n`].join(":")).join("");
      return new Response(text, { headers: { "content-type": "text/event-stream" } });
    });
    try {
      const source = openai({ baseURL: `${upstream.url}/v1`, model: "real" });
      const response = await post(createHandler({ source, log: false }), path, request);
      assert.equal(response.status, 200);
      assert.match(await response.text(), /ok/);
      const [{ model, stream, stream_options: _, ...body }] = bodies;
      assert.deepEqual([model, stream], ["real", true]);
      assert.deepEqual(body, sent);
    } finally {
      await upstream.close();
    }
  });
}
