/**
 * LiteLLM's proxy: members of its providers beside their translation (`thinking_blocks`,
 * `provider_specific_fields`), nulls, and errors whose code is a string, with and without `[DONE]`.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, DONE, event, head, urlOf, usageOf } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks(head("chatcmpl-ll", "claude-sonnet"));
  let first: Record<string, unknown> = { role: "assistant" };
  const say = (delta: object) => {
    chunks.delta({ provider_specific_fields: null, ...delta, ...first });
    first = {};
  };
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const thinking of pieces(chance, part.text)) {
        const thinking_blocks = [{ type: "thinking", thinking, signature: null }];
        say({ content: "", reasoning_content: thinking, thinking_blocks });
      }
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) say({ content });
    } else if (part.kind === "refusal") {
      for (const refusal of pieces(chance, part.text)) say({ refusal });
    } else if (part.kind === "file") {
      say({ images: [{ image_url: { url: urlOf(part) }, index: 0, type: "image_url" }] });
    } else if (part.kind === "call") {
      const { id, name } = part;
      const named = { arguments: "", name };
      say({ content: "", tool_calls: [{ id, function: named, type: "function", index }] });
      for (const piece of pieces(chance, part.arguments)) {
        const fragment = { id: null, function: { arguments: piece, name: null }, type: "function" };
        say({ tool_calls: [{ ...fragment, index }] });
      }
      index++;
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const message = "litellm.MidStreamFallbackError: AnthropicException - Overloaded";
    const error = { message, type: "None", param: "None", code: "500" };
    return [...chunks.out, event({ error }), ...chance() < 0.5 ? [DONE] : []];
  }
  chunks.delta({}, answer.end);
  chunks.delta({}, null, { usage: usageOf(answer) });
  return [...chunks.out, DONE];
}

export const litellm: Dialect = {
  name: "litellm",
  seen: [
    "https://docs.litellm.ai/docs/reasoning_content",
    "https://docs.litellm.ai/docs/proxy/error_diagnosis",
    "https://github.com/decolua/9router/pull/3521",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call", "refusal", "file"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "broken off"],
  },
  write,
};
