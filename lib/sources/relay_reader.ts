/**
 * Reads what a model says among the events that are passed on, whichever of the three APIs they are of.
 * Separate from the relay because most of its formats pass the events on unread.
 */
import { upstreamFailed } from "../error.ts";
import { CompletionReader, isChunk, isFailure, parseChunk } from "../formats/completion_chunk.ts";
import type { Item, Summary } from "../item.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { isObject, parseJson } from "../values.ts";
import { MessageReader } from "./anthropic_reader.ts";
import { type AnswerReader, FAILED } from "./dialect.ts";
import { ResponseReader } from "./responses_reader.ts";

/** What only a chunk of OpenAI's API, or a failure of it, can hold. Only data that matches is parsed. */
const MAY_BE_CHUNK = /"(?:choices|error|base_resp|chat\.completion\.chunk)"/;

/** Reads one response. */
export class RelayReader {
  readonly #chunks = new CompletionReader();
  #areChunks = false;
  /** The reader of an API whose events have types; `null` if the first event was none of its kind. */
  #typed: AnswerReader | null | undefined;

  /** How the response ended, as far as that was told. */
  get summary(): Summary {
    return this.#typed ? this.#typed.summary ?? {} : this.#chunks.summary;
  }

  /**
   * Whether all of the response came.
   *
   * @param isEnded Whether an event has ended it.
   * @param isOwnEnd Whether the relay's caller has said which event that is.
   */
  isWhole(isEnded: boolean, isOwnEnd: boolean): boolean {
    const tells = this.#areChunks || this.#typed && !isOwnEnd;
    return tells ? this.summary.finishReason !== undefined : isEnded;
  }

  /**
   * The items that an event stands for; `undefined` if it is of none of the APIs.
   *
   * @throws {StreamError} `upstream_failed` if it is a failure, or cannot be read.
   */
  read(event: ServerSentEvent): readonly Item[] | undefined {
    this.#typed ??= this.#areChunks ? null : typedReader(event);
    if (this.#typed) return readTyped(this.#typed, event);
    if (event.event !== "message") return undefined;
    const { data } = event;
    const text = this.#chunks.text(data);
    if (text !== undefined) return [text];
    const chunk = MAY_BE_CHUNK.test(data) ? parseChunk(data) : undefined;
    // Some send `null` in place of a chunk.
    if (chunk === undefined) return this.#areChunks && data === "null" ? [] : undefined;
    if (isFailure(chunk)) throw upstreamFailed(data);
    if (!isChunk(chunk)) return undefined;
    this.#areChunks = true;
    return this.#chunks.items(chunk, data);
  }

  /** The items that the event at the end stands for: some servers tell them there alone. */
  readEnd(event: ServerSentEvent): readonly Item[] {
    return this.#typed ? readTyped(this.#typed, event) : [];
  }
}

function readTyped(reader: AnswerReader, event: ServerSentEvent): readonly Item[] {
  const read = reader.read(event);
  if (read === FAILED) throw upstreamFailed(event.data);
  return typeof read === "string" ? [read] : read;
}

/** The reader for what begins with this event; `undefined` if that is not told yet. */
function typedReader({ event, data }: ServerSentEvent): AnswerReader | null | undefined {
  // Some servers leave out the names of events.
  const parsed = event === "message" && data.startsWith("{") ? parseJson(data) : undefined;
  const type = isObject(parsed) && "type" in parsed ? parsed.type : event;
  if (type === "ping") return undefined;
  if (type === "message_start") return new MessageReader();
  return type === "response.created" ? new ResponseReader() : null;
}
