/**
 * Gemini's compatibility layer: each call in one piece, all of them at index 0 or without an index, with
 * its thought signature beside it, and `stop` where others say `tool_calls`.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { callsOf, Chunks, DONE, event, head, usageOf } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks(head("Il0taoSY", "gemini-3-flash"));
  const indexed = chance() < 0.5;
  for (const part of answer.parts) {
    if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) chunks.delta({ role: "assistant", content });
    } else if (part.kind === "call") {
      const named = { arguments: part.arguments, name: part.name };
      const call = { ...part.extra, function: named, id: part.id, type: "function" };
      const all = indexed ? { ...call, index: 0 } : call;
      chunks.delta({ role: "assistant", tool_calls: [all] });
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const error = { code: 503, message: "The model is overloaded.", status: "UNAVAILABLE" };
    return [...chunks.out, event({ error })];
  }
  const reason = answer.end === "error reason"
    ? "malformed_function_call"
    : answer.end === "tool_calls" && callsOf(answer).length > 0
    ? "stop"
    : answer.end;
  chunks.delta({ role: "assistant" }, reason, { usage: usageOf(answer) });
  return [...chunks.out, DONE];
}

export const gemini: Dialect = {
  name: "gemini",
  seen: [
    "https://ai.google.dev/gemini-api/docs/openai",
    "https://github.com/noho/dayu-agent/issues/82",
    "https://github.com/NousResearch/hermes-agent/issues/62940",
  ],
  can: {
    parts: ["text", "text", "call"],
    extra: true,
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "error reason", "broken off"],
  },
  write,
};
