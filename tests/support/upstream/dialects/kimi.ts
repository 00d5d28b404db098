/** Kimi: usage inside the choice of the last chunk, and arguments that begin as null behind some gateways. */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, event, head, usageOf } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks({ ...head("chatcmpl-64", "kimi-k2"), system_fingerprint: "fpv0" });
  chunks.delta({ role: "assistant", content: "" });
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const reasoning_content of pieces(chance, part.text)) {
        chunks.delta({ reasoning_content });
      }
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) chunks.delta({ content });
    } else if (part.kind === "call") {
      const { id, name } = part;
      // Behind some gateways the arguments are null at first.
      const none = chance() < 0.3 ? null : "";
      const call = { index, id, type: "function", function: { name, arguments: none } };
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
      message: "The engine is currently overloaded",
      type: "engine_overloaded_error",
    };
    return [...chunks.out, event({ error })];
  }
  chunks.delta({}, answer.end, {}, { usage: usageOf(answer) });
  return chunks.end(answer);
}

export const kimi: Dialect = {
  name: "kimi",
  seen: [
    "https://platform.moonshot.ai/docs/api/chat",
    "https://github.com/openlit/openlit/issues/989",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "broken off"],
  },
  write,
};
