/**
 * What differs between the APIs of upstreams: how a request is written, and how an event is read.
 * Separate from the source because its limits and failures are the same for all.
 */
import type { ChatFields, ChatMessage } from "../chat.ts";
import type { Item, Summary } from "../item.ts";
import type { ServerSentEvent } from "../sse/event.ts";

/** The words of one API. */
export interface Dialect {
  /** The path of the requests, under the path of a base URL, which has no slash at its end. */
  pathUnder(base: string): string;
  /** Sets the header with the API key, unless the key is empty, and those that the API needs. */
  authorize(headers: Headers, apiKey: string): void;
  /** Fields of the input that a client may choose, where the options do not say. */
  readonly fields: readonly string[];
  /**
   * Writes the body, but for `model` and `stream`.
   *
   * @throws {StreamError} If the request holds what the API has no place for.
   */
  write(request: ModelRequest): object;
  /** Begins to read a response. */
  read(): AnswerReader;
}

/** What is asked, in the terms of the chat completions API. */
export interface ModelRequest {
  readonly messages: readonly ChatMessage[];
  /** What the client has chosen. */
  readonly fields: Partial<ChatFields>;
  /** Fields of the upstream's own API that the server has fixed; they override all others. */
  readonly fixed: Readonly<Record<string, unknown>>;
  readonly model: string;
}

/**
 * Fields of the input that a client may choose. Gateways take many more fields, among them other
 * models, keys and addresses: those are for the server to choose.
 */
export const FIELDS: readonly string[] = [
  "temperature",
  "top_p",
  "max_tokens",
  "max_completion_tokens",
  "stop",
  "tools",
  "tool_choice",
  "parallel_tool_calls",
  "response_format",
  "seed",
  "presence_penalty",
  "frequency_penalty",
  "reasoning_effort",
];

/** Says that an event is a failure which the upstream reports. */
export const FAILED: unique symbol = Symbol("failed");

/** Reads the events of one response. */
export interface AnswerReader {
  /** How the response ended; `undefined` until all of it is there. */
  readonly summary: Summary | undefined;
  /** Whether the last event was the end. */
  readonly isOver: boolean;
  /**
   * What an event adds to the response: a token, or any items.
   *
   * @throws {StreamError} `upstream_failed` if it cannot be read, or says that the model broke off.
   */
  read(event: ServerSentEvent): string | readonly Item[] | typeof FAILED;
}
