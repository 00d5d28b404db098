/**
 * Mistral: reasoning as a part of a list of contents, all calls in one piece in the chunk of the finish
 * reason, the last text beside the finish reason too, and reasons of its own.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { callsOf, Chunks, DONE, event, head, usageOf } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks(head("c3c77283", "magistral-medium"));
  chunks.delta({ role: "assistant", content: "" });
  const listed = chance() < 0.5;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const text of pieces(chance, part.text)) {
        const thinking = [{ type: "text", text }];
        chunks.delta({ content: [{ type: "thinking", thinking }] });
      }
    } else if (part.kind === "text") {
      for (const text of pieces(chance, part.text)) {
        chunks.delta({ content: listed ? [{ type: "text", text }] : text });
      }
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const message = "Service unavailable.";
    return [
      ...chunks.out,
      event({ object: "error", message, type: "unreachable_backend", code: 1100 }),
    ];
  }
  const reason = answer.end === "error reason"
    ? "error"
    : answer.end === "length" && chance() < 0.5
    ? "model_length"
    : answer.end;
  const calls = callsOf(answer).map(({ id, name, arguments: json }, index) => {
    return { id, function: { name, arguments: json }, index };
  });
  const delta = calls.length > 0 ? { content: "", tool_calls: calls } : { content: "" };
  chunks.delta(delta, reason, { usage: usageOf(answer) });
  return [...chunks.out, DONE];
}

export const mistral: Dialect = {
  name: "mistral",
  seen: [
    "https://docs.mistral.ai/capabilities/reasoning",
    "https://docs.mistral.ai/api/endpoint/chat",
    "https://github.com/BerriAI/litellm/issues/16272",
    "https://github.com/jeremychone/rust-genai/pull/164",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    callsLast: true,
    ends: ["stop", "length", "tool_calls"],
    failures: ["error event", "error reason", "broken off"],
  },
  write,
};
