/**
 * The members of chat completions, which chunks and the whole document have alike. Separate from both
 * because each of them writes the same items.
 */
import { finishKind, usageOf } from "./finish.ts";
import type { End, FormatContext } from "./format.ts";
import { citedIn, type Extra, fileUrlOf, isOfAnthropic } from "./parts.ts";
import type { ToolCall } from "./tool_calls.ts";
import { isObject } from "../values.ts";

/** The members of a delta, or of a message, that an item becomes; nothing for a note. */
export function deltaOf(event: string | undefined, data: unknown): Extra | undefined {
  if (event === "audio") return { audio: data };
  if (event === "citation") return annotationOf(data);
  if (event === "delta" && isObject(data)) return data as Extra;
  const url = event === "file" ? fileUrlOf(data) : undefined;
  return url === undefined ? undefined : { images: [{ type: "image_url", image_url: { url } }] };
}

/** The annotation of a citation; nothing for a place in a document, which this API has no word for. */
function annotationOf(data: unknown): Extra | undefined {
  if (!isOfAnthropic(data)) return { annotations: [data] };
  const cited = citedIn(data);
  if (cited === undefined) return undefined;
  const url_citation = { start_index: 0, end_index: 0, title: cited.url, ...cited };
  return { annotations: [{ type: "url_citation", url_citation }] };
}

/** What only the model's own API can read of its reasoning, as OpenRouter has it. */
export function detailsOf(text: string, signature?: string, redacted?: string): Extra[] {
  return [
    ...signature === undefined ? [] : [{ type: "reasoning.text", text, signature }],
    ...redacted === undefined ? [] : [{ type: "reasoning.encrypted", data: redacted }],
  ];
}

/**
 * A call, or a piece of one.
 *
 * @param fragment Its arguments, or more of them.
 * @param extra Further members.
 * @param isNamed Whether it has the id, the type and the name: not behind the first piece.
 */
export function callPiece(
  { id, name, isCustom }: Pick<ToolCall, "id" | "name" | "isCustom">,
  fragment: string,
  extra: Extra = {},
  isNamed: boolean,
): object {
  const type = isCustom ? "custom" : "function";
  const { [type]: further, ...members } = extra;
  const input = isCustom ? { input: fragment } : { arguments: fragment };
  return {
    ...isNamed ? { id, type } : {},
    [type]: { ...isNamed ? { name } : {}, ...input, ...Object(further) },
    ...members,
  };
}

/** The fields that each chunk and each document begins with. */
export function identityOf({ streamId }: FormatContext, object: string, model: string): string {
  const created = Math.floor(Date.now() / 1000);
  const id = `chatcmpl-${streamId}`;
  return JSON.stringify({ id, object, created, model }).slice(1, -1);
}

/** The finish reason: one of four, the only ones that strict clients accept. */
export function finishOf(end: End, callsWait: boolean): string {
  const kind = finishKind(end, callsWait);
  return kind === "other" ? "stop" : kind;
}

export function usageFor(end: End): unknown {
  const { input, output, total, cacheRead, reasoning } = usageOf(end);
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: total,
    ...cacheRead === undefined ? {} : { prompt_tokens_details: { cached_tokens: cacheRead } },
    ...reasoning === undefined
      ? {}
      : { completion_tokens_details: { reasoning_tokens: reasoning } },
  };
}
