/** DashScope and what speaks as it does: ids and names that are empty in every fragment but the first. */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, event, head } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks({ ...head("chatcmpl-ds", "qwen3-max"), system_fingerprint: null }, {
    logprobs: null,
  });
  chunks.delta({ content: "", role: "assistant" }, null, { usage: null });
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const piece of pieces(chance, part.text)) {
        chunks.delta({ content: null, reasoning_content: piece }, null, { usage: null });
      }
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) chunks.delta({ content, role: "" });
    } else if (part.kind === "call") {
      const [first, ...rest] = pieces(chance, part.arguments);
      const named = { name: part.name, arguments: first };
      chunks.delta({ tool_calls: [{ id: part.id, type: "function", index, function: named }] });
      for (const piece of rest) {
        const fragment = { id: "", type: "function", function: { name: "", arguments: piece } };
        chunks.delta({ tool_calls: [{ ...fragment, index }] });
      }
      index++;
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const error = { code: "internal_error", message: "An internal error has occured" };
    return [...chunks.out, event({ error: { ...error, param: null, type: "internal_error" } })];
  }
  chunks.delta({ content: "" }, answer.end, { usage: null });
  return chunks.end(answer);
}

export const dashscope: Dialect = {
  name: "dashscope",
  seen: [
    "https://github.com/anomalyco/opencode/issues/37841",
    "https://github.com/anomalyco/opencode/pull/40969",
    "https://github.com/MiniMax-AI/MiniMax-M2.5/issues/2",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls"],
    failures: ["error event", "broken off"],
  },
  write,
};
