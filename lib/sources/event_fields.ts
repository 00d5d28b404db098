/**
 * Reads the JSON of events whose API names their types, and how their answers end. Separate from the
 * readers because Anthropic's API and OpenAI's Responses have this in common.
 */
import { upstreamFailed } from "../error.ts";
import { agreeing } from "../formats/finish.ts";
import type { Summary } from "../item.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { depthOf, isObject, parseJson } from "../values.ts";
import type { Fields } from "./chat_parts.ts";

/** How deep an event may nest: what writes and reads its items has one stack frame for each level. */
const MAX_DEPTH = 256;

/** Reads events. */
export class EventFields {
  /**
   * The members of an event; `undefined` if it says nothing.
   *
   * @throws {StreamError} `upstream_failed` if it is no JSON object with a type, or is too deep.
   */
  of({ event, data }: ServerSentEvent): Fields | undefined {
    // Some gateways add the end of another API.
    if (data === "" || data === "null" || data.trim() === "[DONE]") return undefined;
    const fields = this.parse(data);
    if (!isObject(fields) || Array.isArray(fields)) throw upstreamFailed(`No event: ${data}`);
    const { type = event } = fields as Fields;
    if (typeof type !== "string" || type === "message") {
      throw upstreamFailed(`An event has no type: ${data}`);
    }
    return { ...fields, type };
  }

  /**
   * The value of JSON; its text if it is none.
   *
   * @throws {StreamError} `upstream_failed` if it is too deep.
   */
  parse(json: string): unknown {
    if (json.length > 2 * MAX_DEPTH && depthOf(json, MAX_DEPTH) > MAX_DEPTH) {
      throw upstreamFailed(`An event is nested over ${MAX_DEPTH} deep`);
    }
    return parseJson(json) ?? json;
  }
}

/** How an answer ended: the reason agrees with what came. */
export function summaryOf(reason: string, calledTools: boolean, usage: Fields): Summary {
  return {
    finishReason: agreeing(reason, calledTools),
    ...Object.keys(usage).length === 0 ? {} : { usage },
  };
}
