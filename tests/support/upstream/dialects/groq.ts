/** Groq: `x_groq` in the first chunk and, with the usage, in the last; each call in one piece. */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, event, head, usageOf } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks({ ...head("chatcmpl-gq", "gpt-oss-20b"), system_fingerprint: "fp_4" }, {
    logprobs: null,
  });
  const id = "req_01hxnxvkfjf6";
  chunks.delta({ role: "assistant", content: "" }, null, { x_groq: { id } });
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const reasoning of pieces(chance, part.text)) {
        chunks.delta({ reasoning, channel: "analysis" });
      }
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) chunks.delta({ content });
    } else if (part.kind === "call") {
      const named = { name: part.name, arguments: part.arguments };
      const call = { id: part.id, type: "function", function: named, index: index++ };
      chunks.delta({ tool_calls: [call] });
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const message = "Failed to call a function. Please adjust your prompt.";
    const error = { message, type: "invalid_request_error", code: "tool_use_failed" };
    return [...chunks.out, event({ error: { ...error, failed_generation: "<function=" } })];
  }
  const usage = usageOf(answer);
  chunks.delta({}, answer.end, { x_groq: { id, usage } });
  return chunks.end(answer);
}

export const groq: Dialect = {
  name: "groq",
  seen: [
    "https://console.groq.com/docs/reasoning",
    "https://console.groq.com/docs/tool-use",
    "https://github.com/tensorzero/tensorzero/pull/1893",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls"],
    failures: ["error event", "broken off"],
  },
  write,
};
