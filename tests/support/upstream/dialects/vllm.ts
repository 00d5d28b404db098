/**
 * vLLM: members that are null in every chunk, reasoning under an old and a new name, the last text beside
 * the finish reason, `stop_reason`, and `[DONE]` after an error and after an abort.
 */
import { type Answer, type Dialect, isFailure, pieces } from "./answer.ts";
import { Chunks, DONE, event, head } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks(head("chatcmpl-0a1b", "Qwen/Qwen3-8B"), {
    logprobs: null,
    token_ids: null,
  });
  const [name, other] = chance() < 0.5
    ? ["reasoning_content", "reasoning"]
    : ["reasoning", "reasoning_content"];
  chunks.delta({ role: "assistant", content: "", [other]: null }, null, {
    prompt_token_ids: null,
  });
  let index = 0;
  const last = answer.parts.at(-1);
  let beside: Record<string, unknown> = { content: "" };
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const piece of pieces(chance, part.text)) chunks.delta({ [name]: piece });
    } else if (part.kind === "text") {
      const all = pieces(chance, part.text);
      if (part === last && !isFailure(answer.end)) beside = { content: all.pop() };
      for (const content of all) chunks.delta({ content, [other]: null });
    } else if (part.kind === "call") {
      const id = part.id;
      const call = { id, type: "function", index, function: { name: part.name } };
      chunks.delta({ tool_calls: [call] });
      for (const piece of pieces(chance, part.arguments)) {
        chunks.delta({ tool_calls: [{ index, function: { arguments: piece } }] });
      }
      index++;
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const error = {
      message: "EngineCore died",
      type: "InternalServerError",
      param: null,
      code: 500,
    };
    return [...chunks.out, event({ error }), DONE];
  }
  const reason = answer.end === "error reason" ? "abort" : answer.end;
  // A call that was asked for by its name ends in `stop`.
  const said = reason === "tool_calls" && chance() < 0.3 ? "stop" : reason;
  chunks.delta(beside, said, {}, { stop_reason: null });
  return chunks.end(answer);
}

export const vllm: Dialect = {
  name: "vllm",
  seen: [
    "https://github.com/vllm-project/vllm/issues/57082",
    "https://github.com/vllm-project/vllm/pull/36944",
    "https://github.com/vercel/ai/issues/3953",
    "https://github.com/anomalyco/opencode/issues/37553",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls"],
    failures: ["error event", "error reason", "broken off"],
  },
  write,
};
