/**
 * The judge of a response: takes the HTTP framing off a kept body and joins what its events carry.
 * Deliberately slow, plain and independent of the code it judges; the load generator calls it for one body per run.
 */

/** Where a subject puts the token: raw in `data:`, as a JSON string, as `{"token"}`, in OpenAI's chunk, in Anthropic's block, or as the `delta` of an event of this type. */
export type Payload = "raw" | "string" | "token" | "chunk" | "block" | Delta;

/** Types of events whose `delta` is the token: of a UI message stream, of OpenAI's Responses and of AG-UI. */
type Delta = "text-delta" | "response.output_text.delta" | "TEXT_MESSAGE_CONTENT";

/** The text of a whole response as its client would have it, and how many events carried it. */
export function readBody(response: Uint8Array, payload: Payload): { text: string; events: number } {
  const bytes = Buffer.from(response);
  const headEnd = bytes.indexOf("\r\n\r\n");
  const head = bytes.toString("latin1", 0, headEnd).toLowerCase();
  const body = bytes.subarray(headEnd + 4);
  const plain = /\ntransfer-encoding: *chunked/.test(head) ? dechunk(body) : body;
  let text = "";
  let events = 0;
  for (const block of plain.toString("utf8").split("\n\n")) {
    const token = tokenOf(block, payload);
    if (token === undefined) continue;
    events++;
    text += token;
  }
  return { text, events };
}

function dechunk(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const lineEnd = body.indexOf("\r\n", at);
    const size = parseInt(body.toString("latin1", at, lineEnd), 16);
    if (!(size > 0)) break;
    parts.push(body.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
  return Buffer.concat(parts);
}

interface Part {
  token?: string;
  type?: string;
  delta?: string | { text?: string };
  choices?: { delta?: { content?: string } }[];
}

/** The token of one event, `undefined` where the event is an end mark, a comment or a framing part. */
function tokenOf(block: string, payload: Payload): string | undefined {
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (/^event:(?! ?(message|content_block_delta|response\.output_text\.delta)$)/.test(line)) {
      return undefined;
    }
    if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
  }
  if (data.length === 0) return undefined;
  const joined = data.join("\n");
  if (payload === "raw") return joined;
  if (joined === "[DONE]") return undefined;
  if (payload === "string") return JSON.parse(joined) as string;
  const part = JSON.parse(joined) as Part;
  if (payload === "chunk") return part.choices?.[0]?.delta?.content || undefined;
  if (payload === "token") return part.token;
  if (typeof part.delta === "object") return payload === "block" ? part.delta.text : undefined;
  return part.type === payload ? part.delta : undefined;
}
