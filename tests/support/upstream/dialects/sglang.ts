/**
 * SGLang: every member null until it has a value, `finish_reason: ""` in older versions, all calls at one
 * index and told apart by an id that stands in each fragment.
 */
import { type Answer, type Dialect, pieces } from "./answer.ts";
import { Chunks, DONE, event, head } from "./wire.ts";

function write(answer: Answer, chance: () => number): string[] {
  const none = chance() < 0.4 ? "" : null;
  const chunks = new Chunks(head("b2946a2a", "deepseek-r1"), {
    logprobs: null,
    matched_stop: null,
  });
  const nothing = { role: null, content: null, reasoning_content: null, tool_calls: null };
  const say = (delta: object) => chunks.delta({ ...nothing, ...delta }, none, { usage: null });
  say({ role: "assistant", content: "" });
  for (const part of answer.parts) {
    if (part.kind === "reasoning") {
      for (const reasoning_content of pieces(chance, part.text)) say({ reasoning_content });
    } else if (part.kind === "text") {
      for (const content of pieces(chance, part.text)) say({ content });
    } else if (part.kind === "call") {
      const { id } = part;
      let name: string | null = part.name;
      for (const piece of ["", ...pieces(chance, part.arguments)]) {
        const named = { name, arguments: piece };
        say({ tool_calls: [{ id, index: 0, type: "function", function: named }] });
        name = null;
      }
    }
  }
  if (answer.end === "broken off") return chunks.out;
  if (answer.end === "error event") {
    const message = "The request is aborted by the server";
    return [
      ...chunks.out,
      event({ error: { object: "error", message, type: "abort", code: 500 } }),
      DONE,
    ];
  }
  const reason = answer.end === "error reason" ? "abort" : answer.end;
  chunks.delta(nothing, reason, { usage: null }, { matched_stop: 151645 });
  return chunks.end(answer);
}

export const sglang: Dialect = {
  name: "sglang",
  seen: [
    "https://github.com/sgl-project/sglang/issues/3912",
    "https://github.com/sgl-project/sglang/issues/4700",
    "https://github.com/InternLM/lmdeploy/issues/3412",
  ],
  can: {
    parts: ["text", "text", "reasoning", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls"],
    failures: ["error event", "error reason", "broken off"],
  },
  write,
};
