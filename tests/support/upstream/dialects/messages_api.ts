/**
 * Anthropic's own API: blocks with a beginning and an end, signed thoughts, a `ping` anywhere, usage that
 * is counted twice, and a failure as an event.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";

/** How an answer ends, in the words of the API. */
export const STOPS: Record<string, string> = {
  stop: "end_turn",
  length: "max_tokens",
  tool_calls: "tool_use",
  content_filter: "refusal",
};

function named(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
}

function write(answer: Answer, chance: () => number): string[] {
  const usage = { input_tokens: answer.usage.input, output_tokens: 1 };
  const message = { id: "msg_up", type: "message", role: "assistant", model: "m", content: [] };
  const out = [
    named("message_start", { message: { ...message, stop_reason: null, usage } }),
  ];
  answer.parts.forEach((part, index) => {
    if (chance() < 0.3) out.push(named("ping", {}));
    const begin = (content_block: object) =>
      out.push(named("content_block_start", { index, content_block }));
    const delta = (delta: object) => out.push(named("content_block_delta", { index, delta }));
    if (part.kind === "text") {
      begin({ type: "text", text: "" });
      for (const text of pieces(chance, part.text)) delta({ type: "text_delta", text });
    } else if (part.kind === "reasoning") {
      begin({ type: "thinking", thinking: "", signature: "" });
      for (const thinking of pieces(chance, part.text)) delta({ type: "thinking_delta", thinking });
      delta({ type: "signature_delta", signature: `signed ${index}` });
    } else if (part.kind === "call") {
      begin({ type: "tool_use", id: part.id, name: part.name, input: {} });
      for (const json of pieces(chance, part.arguments)) {
        delta({ type: "input_json_delta", partial_json: json });
      }
    }
    out.push(named("content_block_stop", { index }));
  });
  if (answer.end === "broken off") return out;
  if (answer.end === "error event") {
    return [...out, named("error", { error: { type: "overloaded_error", message: "Busy" } })];
  }
  const delta = { stop_reason: STOPS[answer.end], stop_sequence: null };
  out.push(named("message_delta", { delta, usage: { output_tokens: answer.usage.output } }));
  return [...out, named("message_stop", {})];
}

export const messagesApi: Dialect = {
  name: "messages",
  seen: ["https://platform.claude.com/docs/en/build-with-claude/streaming"],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "broken off"],
  },
  write,
};
