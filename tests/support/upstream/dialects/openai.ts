/**
 * OpenAI: the role first, a call's name first and its arguments in fragments without an id, `delta: {}`
 * with the finish reason, usage in a chunk without choices.
 */
import { type Answer, type Dialect, isFailure, pieces } from "./answer.ts";
import { Chunks, event, head } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks(
    { ...head("chatcmpl-9", "gpt-5"), service_tier: "default", system_fingerprint: "fp_1" },
    { logprobs: null },
  );
  const usage = { usage: null, obfuscation: "aB3" };
  chunks.delta({ role: "assistant", content: "", refusal: null }, null, usage);
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) chunks.delta({ content }, null, usage);
    } else if (part.kind === "refusal") {
      for (const refusal of pieces(chance, part.text)) chunks.delta({ refusal }, null, usage);
    } else if (part.kind === "citation") {
      const { url, title } = part.data;
      const url_citation = { start_index: 0, end_index: 1, url, title };
      chunks.delta({ annotations: [{ type: "url_citation", url_citation }] }, null, usage);
    } else if (part.kind === "audio") {
      chunks.delta({ audio: part.data }, null, usage);
    } else if (part.kind === "call") {
      const { id, name } = part;
      const call = { index, id, type: "function", function: { name, arguments: "" } };
      chunks.delta({ tool_calls: [call] }, null, usage);
      for (const fragment of pieces(chance, part.arguments)) {
        chunks.delta({ tool_calls: [{ index, function: { arguments: fragment } }] }, null, usage);
      }
      index++;
    }
  }
  if (isFailure(answer.end)) {
    if (answer.end === "broken off") return chunks.out;
    const message = "The server had an error while processing your request. Sorry about that!";
    const error = { message, type: "server_error", param: null, code: null };
    return [...chunks.out, event({ error })];
  }
  chunks.delta({}, answer.end, usage);
  return chunks.end(answer);
}

export const openai: Dialect = {
  name: "openai",
  seen: [
    "https://platform.openai.com/docs/api-reference/chat-streaming/streaming",
    "https://github.com/ggml-org/llama.cpp/pull/11747",
  ],
  can: {
    parts: ["text", "text", "call", "refusal", "citation", "audio"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "broken off"],
  },
  write,
};
