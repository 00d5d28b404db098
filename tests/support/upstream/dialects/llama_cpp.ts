/**
 * llama.cpp's server: `content: null` with the role, `timings` in the last chunk, and in older versions an
 * error under an SSE field of that name, which no client may read: its stream just ends.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, DONE, event, head, usageOf } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks({ ...head("chatcmpl-Zq", "gpt-oss"), system_fingerprint: "b5630" });
  chunks.delta({ role: "assistant", content: null });
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const reasoning_content of pieces(chance, part.text)) {
        chunks.delta({ reasoning_content });
      }
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) chunks.delta({ content });
    } else if (part.kind === "call") {
      const [first, ...rest] = pieces(chance, part.arguments);
      const named = { name: part.name, arguments: first };
      chunks.delta({ tool_calls: [{ index, id: part.id, type: "function", function: named }] });
      for (const piece of rest) {
        chunks.delta({ tool_calls: [{ index, function: { arguments: piece } }] });
      }
      index++;
    }
  }
  if (answer.end === "broken off") {
    const error = { code: 500, message: "context shift is disabled", type: "server_error" };
    return chance() < 0.5 ? chunks.out : [...chunks.out, `error: ${JSON.stringify(error)}\n\n`];
  }
  if (answer.end === "error event") {
    const error = { code: 500, message: "failed to decode", type: "server_error" };
    return [...chunks.out, event({ error })];
  }
  chunks.delta({}, answer.end, { timings: { prompt_n: 3, predicted_per_second: 41.5 } });
  chunks.chunk([], { usage: usageOf(answer), timings: { prompt_n: 3 } });
  return [...chunks.out, DONE];
}

export const llamaCpp: Dialect = {
  name: "llama.cpp",
  seen: [
    "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    "https://github.com/ggml-org/llama.cpp/issues/14566",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls"],
    failures: ["error event", "broken off"],
  },
  write,
};
