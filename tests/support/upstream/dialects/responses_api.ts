/**
 * OpenAI's Responses API: items with pieces, parts and ends, of which some servers leave out the pieces,
 * and others all but the last event; a failure as an event, as a response that failed, or both.
 */
import { type Answer, type Dialect, isFailure, type Part, pieces } from "./answer.ts";

/** Why an answer is incomplete, in the words of the API. */
export const INCOMPLETE: Record<string, string> = {
  length: "max_output_tokens",
  content_filter: "content_filter",
};

/** The item that a part is in the end. */
function itemOf(part: Part, at: number): Record<string, unknown> {
  const status = "completed";
  if (part.kind === "call") {
    const { id: call_id, name, arguments: json } = part;
    return { id: `fc_${at}`, type: "function_call", call_id, name, arguments: json, status };
  }
  const { text } = part as { text: string };
  if (part.kind === "reasoning") {
    return { id: `rs_${at}`, type: "reasoning", summary: [{ type: "summary_text", text }] };
  }
  const content = part.kind === "refusal"
    ? [{ type: "refusal", refusal: text }]
    : [{ type: "output_text", text, annotations: [] }];
  return { id: `msg_${at}`, type: "message", role: "assistant", status, content };
}

/** The event of a piece, and the name of the whole in the event behind the last one. */
const PIECES: Record<string, [name: string, whole: string]> = {
  text: ["output_text", "text"],
  refusal: ["refusal", "refusal"],
  reasoning: ["reasoning_summary_text", "text"],
  call: ["function_call_arguments", "arguments"],
};

function write(answer: Answer, chance: () => number): string[] {
  const out: string[] = [];
  const event = (type: string, fields: object) => {
    const data = JSON.stringify({ type, sequence_number: out.length, ...fields });
    out.push(`event: ${type}\ndata: ${data}\n\n`);
  };
  const head = { id: "resp_up", object: "response", model: "m", error: null, output: [] };
  event("response.created", { response: { ...head, status: "in_progress" } });
  const output = answer.parts.map(itemOf);
  let isLeft = false;
  answer.parts.forEach((part, at) => {
    const place = { output_index: at };
    const item = output[at]!;
    const kind = chance();
    // From here on it is in the last event alone.
    isLeft ||= kind < 0.1 && !isFailure(answer.end);
    if (isLeft) return;
    if (kind < 0.2) return event("response.output_item.done", { ...place, item });
    const empty = { content: [], summary: [], arguments: "", encrypted_content: undefined };
    event("response.output_item.added", {
      ...place,
      item: { ...item, ...empty, status: "in_progress" },
    });
    const text = "text" in part ? part.text : "arguments" in part ? part.arguments : "";
    const [name, whole] = PIECES[part.kind]!;
    for (const delta of pieces(chance, text)) event(`response.${name}.delta`, { ...place, delta });
    event(`response.${name}.done`, { ...place, [whole]: text });
    event("response.output_item.done", { ...place, item });
    if (chance() < 0.3) event("response.in_progress", { response: head });
  });
  if (answer.end === "broken off") return out;
  const usage = {
    input_tokens: answer.usage.input,
    output_tokens: answer.usage.output,
    total_tokens: answer.usage.input + answer.usage.output,
  };
  if (answer.end === "error event") {
    const error = { code: "server_error", message: "Busy" };
    if (chance() < 0.5) event("error", { ...error, param: null });
    else event("response.failed", { response: { ...head, status: "failed", error } });
    return out;
  }
  const reason = INCOMPLETE[answer.end];
  const response = { ...head, output, usage, status: reason ? "incomplete" : "completed" };
  event(`response.${response.status}`, {
    response: { ...response, incomplete_details: reason ? { reason } : null },
  });
  return chance() < 0.5 ? out : [...out, "data: [DONE]\n\n"];
}

export const responsesApi: Dialect = {
  name: "responses",
  seen: ["https://platform.openai.com/docs/api-reference/responses-streaming"],
  can: {
    parts: ["text", "text", "reasoning", "refusal", "call"],
    manyCalls: true,
    ends: ["stop", "length", "tool_calls", "content_filter"],
    failures: ["error event", "broken off"],
  },
  write,
};
