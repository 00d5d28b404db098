/**
 * The real packages as judges of each API as upstream: the same text, reasoning and calls, and the same
 * end, in what the packages make of a stream.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createHandler, openai as completions } from "../../mod.ts";
import { anthropic as claude, responses } from "../../lib/sources.ts";
import { random } from "../support/random.ts";
import { serve } from "../support/serve.ts";
import { type Answer, call, reasoning, text } from "../support/upstream/dialects/answer.ts";
import { deepseek } from "../support/upstream/dialects/deepseek.ts";
import { messagesApi } from "../support/upstream/dialects/messages_api.ts";
import { responsesApi } from "../support/upstream/dialects/responses_api.ts";
import { type Scripted, startScripted } from "../support/upstream/dialects/server.ts";
import type { Mock } from "../support/upstream/mock.ts";
import { anthropic, asked as askedOfClaude } from "./clients/anthropic.ts";
import { asked, openai } from "./clients/openai.ts";

const ANSWER: Answer = {
  parts: [
    reasoning("hm, 東京"),
    text("Let me look.\r\n👩‍👩‍👧"),
    call("call_a", "weather", '{"city":"東京"}'),
    call("call_b", "time", "{}"),
  ],
  end: "tool_calls",
  usage: { input: 3, output: 5 },
};

const UPSTREAMS = [
  ["chat completions", completions, deepseek],
  ["messages", claude, messagesApi],
  ["responses", responses, responsesApi],
] as const;

const scripts = new Map<string, Scripted>();
let mock: Mock;
before(async () => {
  mock = await startScripted(scripts);
});
after(() => mock.close());

for (const [name, source, dialect] of UPSTREAMS) {
  test(`${name} upstream: the packages of OpenAI and Anthropic read the same answer`, async () => {
    const server = await serve(
      createHandler({ source: source({ baseURL: mock.url, model: name }) }).fetch,
    );
    try {
      for (let seed = 1; seed <= 5; seed++) {
        scripts.set(name, { pieces: dialect.write(ANSWER, random(seed)) });
        const [choice] = (await openai(server.url).chat.completions.stream(asked("Hello"))
          .finalChatCompletion()).choices;
        assert.equal(choice!.finish_reason, "tool_calls");
        assert.equal(choice!.message.content, "Let me look.\r\n👩‍👩‍👧");
        const calls = choice!.message.tool_calls ?? [];
        assert.deepEqual(
          calls.map((given) =>
            "function" in given && [given.id, given.function.name, given.function.arguments]
          ),
          [["call_a", "weather", '{"city":"東京"}'], ["call_b", "time", "{}"]],
        );
        const message = await anthropic(server.url).messages.stream(askedOfClaude("Hello"))
          .finalMessage();
        assert.equal(message.stop_reason, "tool_use");
        assert.deepEqual(
          message.content.map((block) =>
            block.type === "thinking"
              ? block.thinking
              : block.type === "text"
              ? block.text
              : block.type === "tool_use" && block.input
          ),
          ["hm, 東京", "Let me look.\r\n👩‍👩‍👧", { city: "東京" }, {}],
        );
      }
    } finally {
      await server.close();
    }
  });
}
