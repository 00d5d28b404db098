/**
 * Ollama: the role in every chunk, `content: ""` beside reasoning and calls, each call in one piece, and
 * in older versions `finish_reason: ""` until the last chunk.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, event, head } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks({ ...head("chatcmpl-693", "qwen3"), system_fingerprint: "fp_ollama" });
  const none = chance() < 0.3 ? "" : null;
  const say = (delta: object) => chunks.delta({ role: "assistant", content: "", ...delta }, none);
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const reasoning of pieces(chance, part.text)) say({ reasoning });
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) say({ content });
    } else if (part.kind === "call") {
      const named = { name: part.name, arguments: part.arguments };
      say({ tool_calls: [{ id: part.id, index: index++, type: "function", function: named }] });
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const error = { message: "llama runner process has terminated", type: "api_error" };
    return [...chunks.out, event({ error: { ...error, param: null, code: null } })];
  }
  // Older versions end a call in `stop`.
  const reason = answer.end === "tool_calls" && chance() < 0.3 ? "stop" : answer.end;
  chunks.delta({ role: "assistant", content: "" }, reason);
  return chunks.end(answer);
}

export const ollama: Dialect = {
  name: "ollama",
  seen: [
    "https://github.com/ollama/ollama/blob/main/docs/openai.md",
    "https://github.com/ollama/ollama/issues/4357",
    "https://github.com/dirac-run/dirac/pull/227",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls"],
    failures: ["error event", "broken off"],
  },
  write,
};
