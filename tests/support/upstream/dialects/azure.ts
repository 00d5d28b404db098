/**
 * Azure OpenAI: a first chunk with the verdict on the prompt and no choices, a verdict in every choice, and
 * with the asynchronous filter chunks that hold nothing but one.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, event, head } from "./wire.ts";

const VERDICT = {
  hate: { filtered: false, severity: "safe" },
  violence: { filtered: false, severity: "safe" },
};

function write(answer: Answer, chance: () => number): string[] {
  const prompt = [{ prompt_index: 0, content_filter_results: VERDICT }];
  const nothing = { choices: [], created: 0, id: "", model: "", object: "" };
  const chunks = new Chunks({ ...head("chatcmpl-az", "gpt-4o"), system_fingerprint: "fp_2" }, {
    logprobs: null,
    content_filter_results: {},
  });
  chunks.out.push(event({ ...nothing, prompt_filter_results: prompt }));
  chunks.delta({ content: "", refusal: null, role: "assistant" });
  const later = chance() < 0.3;
  const say = (delta: object) => {
    chunks.delta(delta, null, {}, { content_filter_results: later ? {} : VERDICT });
    if (!later) return;
    const offsets = { check_offset: 44, start_offset: 44, end_offset: 198 };
    const choice = { index: 0, finish_reason: null, content_filter_results: VERDICT };
    chunks.out.push(
      event({ ...nothing, choices: [{ ...choice, content_filter_offsets: offsets }] }),
    );
  };
  let index = 0;
  for (const part of answer.parts) {
    if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) say({ content });
    } else if (part.kind === "refusal") {
      for (const refusal of pieces(chance, part.text)) say({ refusal });
    } else if (part.kind === "call") {
      const { id, name } = part;
      say({ tool_calls: [{ function: { arguments: "", name }, id, index, type: "function" }] });
      for (const piece of pieces(chance, part.arguments)) {
        say({ tool_calls: [{ function: { arguments: piece }, index }] });
      }
      index++;
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const error = { message: "The server had an error processing your request.", code: "500" };
    return [...chunks.out, event({ error: { ...error, type: "server_error", param: null } })];
  }
  chunks.delta({}, answer.end);
  return chunks.end(answer);
}

export const azure: Dialect = {
  name: "azure",
  seen: [
    "https://learn.microsoft.com/azure/foundry/openai/concepts/content-streaming",
  ],
  can: {
    parts: ["text", "text", "call", "refusal"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "broken off"],
  },
  write,
};
