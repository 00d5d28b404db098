/**
 * DeepSeek: comments while the request waits, `content: null` beside reasoning and the other way round,
 * usage in the chunk of the finish reason, and a finish reason for a machine that is too busy.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, comment, DONE, event, head, usageOf } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks({ ...head("1f633d8b", "deepseek-chat"), system_fingerprint: "fp_3" }, {
    logprobs: null,
  });
  for (let waits = chance() < 0.5 ? 2 : 0; waits > 0; waits--) {
    chunks.out.push(comment("keep-alive"));
  }
  chunks.delta({ role: "assistant", content: null, reasoning_content: "" });
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const piece of pieces(chance, part.text)) {
        chunks.delta({ content: null, reasoning_content: piece });
      }
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) {
        chunks.delta({ content, reasoning_content: null });
      }
    } else if (part.kind === "call") {
      const { id, name } = part;
      const call = { index, id, type: "function", function: { name, arguments: "" } };
      chunks.delta({ content: null, reasoning_content: null, tool_calls: [call] });
      for (const piece of pieces(chance, part.arguments)) {
        chunks.delta({ tool_calls: [{ index, function: { arguments: piece } }] });
      }
      index++;
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const error = { message: "Server overloaded", type: "service_unavailable_error" };
    return [...chunks.out, event({ error: { ...error, param: null, code: null } })];
  }
  const reason = answer.end === "error reason" ? "insufficient_system_resource" : answer.end;
  chunks.delta({ content: "", reasoning_content: null }, reason, { usage: usageOf(answer) });
  return [...chunks.out, DONE];
}

export const deepseek: Dialect = {
  name: "deepseek",
  seen: [
    "https://api-docs.deepseek.com/api/create-chat-completion",
    "https://api-docs.deepseek.com/quick_start/rate_limit",
    "https://github.com/can1357/oh-my-pi/issues/2996",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "error reason", "broken off"],
  },
  write,
};
