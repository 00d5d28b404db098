/**
 * OpenRouter: comments while it waits, `provider` and `native_finish_reason`, reasoning twice (as text and
 * as details), pictures, citations, and errors in chunks that have choices as well.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, comment, DONE, head, urlOf, usageOf } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks({ ...head("gen-17", "google/gemini-3-flash"), provider: "Google" }, {
    native_finish_reason: null,
    logprobs: null,
  });
  const say = (delta: object) => chunks.delta({ role: "assistant", content: "", ...delta });
  chunks.out.push(comment("OPENROUTER PROCESSING"));
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      const mode = chance();
      for (const text of pieces(chance, part.text)) {
        const details = [{ type: "reasoning.text", text, format: "unknown", index: 0 }];
        if (mode < 0.4) say({ reasoning: text, reasoning_details: details });
        else if (mode < 0.7) say({ reasoning: "", reasoning_details: details });
        else say({ reasoning: text });
      }
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) say({ content });
    } else if (part.kind === "file") {
      say({ images: [{ type: "image_url", image_url: { url: urlOf(part) }, index: 0 }] });
    } else if (part.kind === "citation") {
      const { url, title } = part.data;
      say({ annotations: [{ type: "url_citation", url_citation: { url, title, content: "" } }] });
    } else if (part.kind === "call") {
      const { id, name } = part;
      const [first, ...rest] = pieces(chance, part.arguments);
      const call = { index, id, type: "function", function: { name, arguments: first } };
      chunks.delta({ role: "assistant", content: null, tool_calls: [call] });
      for (const piece of rest) {
        const fragment = { index, type: "function", function: { name: null, arguments: piece } };
        chunks.delta({ role: "assistant", content: null, tool_calls: [{ ...fragment, id: null }] });
      }
      index++;
    }
    if (chance() < 0.2) chunks.out.push(comment("OPENROUTER PROCESSING"));
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event" || answer.end === "error reason") {
    const error = { code: 502, message: "Upstream idle timeout exceeded" };
    const choice = answer.end === "error reason" ? { error } : {};
    const more = answer.end === "error event" ? { error } : {};
    chunks.delta({ role: "assistant", content: "" }, "error", more, choice);
    return [...chunks.out, DONE];
  }
  chunks.delta({ role: "assistant", content: "" }, answer.end, {}, {
    native_finish_reason: "STOP",
  });
  chunks.delta({ role: "assistant", content: "" }, null, { usage: usageOf(answer) });
  return [...chunks.out, DONE];
}

export const openrouter: Dialect = {
  name: "openrouter",
  seen: [
    "https://openrouter.ai/docs/api/reference/streaming",
    "https://openrouter.ai/docs/api/reference/errors-and-debugging",
    "https://github.com/AnswerDotAI/fastllm/issues/61",
    "https://github.com/OpenRouterTeam/ai-sdk-provider/issues/167",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call", "file", "citation"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "error reason", "broken off"],
  },
  write,
};
