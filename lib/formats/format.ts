/**
 * The interface of a format: how a stream's items become bytes. Separate from the formats because
 * the pipeline uses this shape and imports no format by name.
 */
import type { Problem } from "../error.ts";
import type { Summary } from "../item.ts";
import type { ServerSentEvent, ServerSentEventInit } from "../sse/event.ts";
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
  /** The stream id: 128 random bits as base64url, or what the embedder chose. */
  readonly streamId: string;
}

/** What a format writes through. Every text is escaped as its place needs. */
export interface EventSink {
  /**
   * Writes any event.
   *
   * @throws {TypeError} If a name or an id holds CR, LF or NUL, or a field is of the wrong type.
   * @throws {RangeError} If `retry` is not an integer from 100 to 60 000.
   */
  event(init: ServerSentEventInit): void;
  /** Writes an event that has data alone. */
  data(text: string): void;
  /** Writes an event in a prepared frame, which {@linkcode eventFrame} makes: the fastest way. */
  frame(frame: Frame, text: string): void;
  /** Writes a comment, which no client shows. */
  comment(text: string): void;
  /** Writes text as it is, for formats that are no event streams. */
  text(text: string): void;
}

/** Where a reader is in its stream. */
export interface Position {
  /** The stream id, as in {@linkcode FormatContext}. */
  readonly streamId: string;
  /** Number of the last event that the reader has, from 1; 0 if it has none, or nothing counts them. */
  readonly lastEvent: number;
}

/**
 * Turns one stream's items into bytes. Each method MUST leave the writer between two events, and
 * MUST NOT keep it.
 */
export interface Framer {
  /** Writes what comes before the first item. */
  start?(out: EventSink): void;
  /**
   * The frame in which tokens MAY be written without a call of `token`. It is read after the first
   * item and after each call of a method, and holds for all tokens until the next call.
   */
  readonly frame?: Frame | undefined;
  /** Number of events so far, if the format numbers them itself. Events with ids are counted by those. */
  readonly events?: number;
  /**
   * Writes a token, which is never empty. Always called for a token that ends in CR or in half a
   * surrogate pair.
   */
  token(out: EventSink, text: string): void;
  /**
   * Writes structured data as JSON, under the event name that the source gave. `data` is the value
   * that the JSON was made from. A format without this method drops structured data.
   */
  structured?(out: EventSink, event: string | undefined, json: string, data: unknown): void;
  /**
   * Passes on an event of an upstream unchanged, and returns whether it did. If not, and in a format
   * without this method, the items that the event stands for are written.
   */
  relayed?(out: EventSink, event: ServerSentEvent): boolean;
  /** Writes the normal end. */
  end(out: EventSink, end: End): void;
  /**
   * Writes the failure; also called on a framer that saw no item, for a reader that comes back. A
   * format without this method fails by breaking off the body.
   */
  fail?(out: EventSink, problem: Problem, position: Position): void;
}

/**
 * Writes the heartbeat of most event streams, a comment. One line only: with a blank line
 * after it, some clients take it for an event.
 */
export function commentHeartbeat(out: EventSink): void {
  out.comment("");
}

/** A format: one kind of body that a stream can be sent as. */
export interface Format {
  /** The format's name in `?format=`. */
  readonly name: string;
  /** The `content-type` of the response. */
  readonly contentType: string;
  /** Media types in `Accept` that select this format, if it is one of Spillway's own. */
  readonly mediaTypes?: readonly string[];
  /** Further response headers. */
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * Writes a heartbeat to one reader, which is sent after a silence and not logged. A format with
   * this function is an event stream: it opens with a comment, and can be resumed. Without it there
   * is neither.
   */
  readonly heartbeat?: (out: EventSink, position: Position) => void;
  /**
   * How long an `EventSource` waits before it reconnects, in ms. Sent once in a stream that can be
   * resumed.
   */
  readonly retryMs?: number;
  /**
   * Whether events carry the ids with which a client comes back: with a log each of them, else the
   * last one. @default {true}
   */
  readonly ids?: boolean;
  /**
   * Whether half of a surrogate pair can be written, as in JSON. Otherwise half a pair waits for its
   * other half, also past structured data. @default {false}
   */
  readonly lossless?: boolean;
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
export const eventStreamFormat: Required<
  Pick<Format, "contentType" | "mediaTypes" | "heartbeat">
> = {
  contentType: "text/event-stream; charset=utf-8",
  mediaTypes: ["text/event-stream"],
  heartbeat: commentHeartbeat,
};

/** Properties that all formats of one JSON document share. */
export const documentFormat: Required<
  Pick<Format, "contentType" | "mediaTypes" | "lossless" | "buffered">
> = {
  contentType: "application/json",
  mediaTypes: ["application/json"],
  lossless: true,
  buffered: true,
};
