/** LM Studio: an event of the name `error`, and reasoning as `reasoning_content`. */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, head } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const chunks = new Chunks(
    { ...head("chatcmpl-lm", "qwen3-8b"), system_fingerprint: "qwen3-8b" },
    {
      logprobs: null,
    },
  );
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const piece of pieces(chance, part.text)) {
        chunks.delta({ role: "assistant", reasoning_content: piece });
      }
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) chunks.delta({ role: "assistant", content });
    } else if (part.kind === "call") {
      const { id, name } = part;
      const call = { index, id, type: "function", function: { name, arguments: "" } };
      chunks.delta({ role: "assistant", tool_calls: [call] });
      for (const piece of pieces(chance, part.arguments)) {
        const fragment = { index, type: "function", function: { arguments: piece } };
        chunks.delta({ tool_calls: [fragment] });
      }
      index++;
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const message = "The model has crashed without additional information. (Exit code: 6)";
    return [
      ...chunks.out,
      `event: error\ndata: ${JSON.stringify({ error: { message }, message })}\n\n`,
    ];
  }
  chunks.delta({}, answer.end);
  return chunks.end(answer);
}

export const lmStudio: Dialect = {
  name: "lm studio",
  seen: [
    "https://lmstudio.ai/docs/developer/openai-compat",
    "https://lmstudio.ai/docs/developer/openai-compat/tools",
    "https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/2411",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls"],
    failures: ["error event", "broken off"],
  },
  write,
};
