/**
 * The interface of a format: how a stream's items become bytes. Separate from the formats because
 * the pipeline uses this shape and imports no format by name.
 */
import type { Problem } from "../error.ts";
import type { Summary } from "../item.ts";
import type { EventWriter } from "../sse/encode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import type { Frame } from "../sse/utf8.ts";

/** How a stream ended without a failure. */
export interface End extends Summary {
  /** `completed`, or `cancelled` if the generation was stopped. */
  reason: "completed" | "cancelled";
  /** Number of tokens that the source gave. */
  tokens: number;
}

/** What a format may know of the stream that it is opened for. */
export interface FormatContext {
  /** The request that the stream responds to. */
  readonly request: Request;
  /** The stream id: 128 random bits, base64url. */
  readonly streamId: string;
  /** The id that the last event carries, if an `EventSource` may ask again after the end. */
  readonly lastId: string | undefined;
}

/**
 * Turns one stream's items into bytes. Each method MUST leave the writer between two events, and
 * MUST NOT keep it.
 */
export interface Framer {
  /** Writes what comes before the first item. */
  start?(out: EventWriter): void;
  /**
   * The frame in which tokens MAY be written without a call of `token`. While it is set, it holds
   * for all tokens that follow each other.
   */
  readonly frame?: Frame | undefined;
  /**
   * Writes a token, which is never empty. Always called for a token that ends in CR or in half a
   * surrogate pair.
   */
  token(out: EventWriter, text: string): void;
  /**
   * Writes structured data as JSON, under the event name that the source gave. `data` is the value
   * that the JSON was made from.
   */
  structured(out: EventWriter, event: string | undefined, json: string, data: unknown): void;
  /** Writes an event of an upstream, to be passed on unchanged. */
  relayed(out: EventWriter, event: ServerSentEvent): void;
  /** Writes the normal end. */
  end(out: EventWriter, end: End): void;
  /** Writes the failure. A format without this method fails by breaking off the body. */
  fail?(out: EventWriter, problem: Problem): void;
}

/**
 * Writes the opening comment and the heartbeat of event streams. One line only: with a blank line
 * after it, some clients take it for an event.
 */
export function commentHeartbeat(out: EventWriter): void {
  out.comment("");
}

/** A format: one kind of body that a stream can be sent as. */
export interface Format {
  /** The format's name in `?format=`. */
  readonly name: string;
  /** The `content-type` of the response. */
  readonly contentType: string;
  /** Media types in `Accept` that select this format. */
  readonly mediaTypes: readonly string[];
  /** Further response headers. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Writes the opening comment and heartbeats; without this function none are sent. */
  readonly heartbeat?: (out: EventWriter) => void;
  /**
   * How long an `EventSource` waits before it reconnects, in ms. Sent once in a stream that can be
   * resumed.
   */
  readonly retryMs?: number;
  /**
   * Whether a lone surrogate arrives unchanged, as in JSON. Otherwise half a pair waits for its
   * other half.
   */
  readonly lossless: boolean;
  /**
   * Whether the response is one document, written at the end. Its headers are sent with it,
   * whatever `commitAfterMs` says.
   */
  readonly buffered?: boolean;
  /**
   * The JSON body of an error response before the headers, as this format's clients expect it.
   * Without it the body is a problem object (RFC 9457).
   */
  readonly errorBody?: (problem: Problem) => string;
  /** Opens the format for one stream. Called once per stream. */
  open(context: FormatContext): Framer;
}

/** Properties that all event stream formats share. */
export const EVENT_STREAM_FORMAT: Required<
  Pick<Format, "contentType" | "mediaTypes" | "heartbeat">
> = {
  contentType: "text/event-stream; charset=utf-8",
  mediaTypes: ["text/event-stream"],
  heartbeat: commentHeartbeat,
};

/** Properties that all formats of one JSON document share. */
export const DOCUMENT_FORMAT: Required<
  Pick<Format, "contentType" | "mediaTypes" | "lossless" | "buffered">
> = {
  contentType: "application/json",
  mediaTypes: ["application/json"],
  lossless: true,
  buffered: true,
};
