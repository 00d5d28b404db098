/**
 * How a format is written: the small interface between the stream and what its readers understand.
 * It stands below the formats so that the stream knows their shape and none of their names.
 */
import type { Problem } from "../error.ts";
import type { Summary } from "../item.ts";
import type { EventWriter } from "../sse/encode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import type { Frame } from "../sse/utf8.ts";

/** How a stream ended well. */
export interface End extends Summary {
  /** `completed`, or `cancelled` if somebody stopped the generation. */
  reason: "completed" | "cancelled";
  /** Tokens that the source gave. */
  tokens: number;
}

/** What a format may know of the stream it is opened for. */
export interface FormatContext {
  /** The request that is answered. */
  readonly request: Request;
  /** 128 random bits, base64url. */
  readonly streamId: string;
  /** The id that the last event carries, if an `EventSource` may ask again after the end. */
  readonly lastId: string | undefined;
}

/**
 * Turns one stream's items into bytes. Each method MUST leave the writer between two events, and
 * MUST NOT keep it.
 */
export interface Framer {
  /** What comes before the first item. */
  start?(out: EventWriter): void;
  /** What tokens MAY be written in without `token` being asked: all that follow each other, while it is there. */
  readonly frame?: Frame | undefined;
  /** A token; never empty. Always asked for one that ends in CR or in half a surrogate pair. */
  token(out: EventWriter, text: string): void;
  /** Structured data as JSON, with the event name that the source gave; `data` is what the JSON was made of. */
  structured(out: EventWriter, event: string | undefined, json: string, data: unknown): void;
  /** An event of an upstream, to be passed on as it came. */
  relayed(out: EventWriter, event: ServerSentEvent): void;
  /** The normal end. */
  end(out: EventWriter, end: End): void;
  /** The failure. A format without it fails by breaking the body off. */
  fail?(out: EventWriter, problem: Problem): void;
}

/** The opening comment and heartbeat of event streams: one line, for a blank one makes it an event to some. */
export function commentHeartbeat(out: EventWriter): void {
  out.comment("");
}

/** One kind of body that a stream can be sent as. */
export interface Format {
  /** Its name in `?format=`. */
  readonly name: string;
  /** The `content-type` of the response. */
  readonly contentType: string;
  /** Media types that a reader may ask for it by. */
  readonly mediaTypes: readonly string[];
  /** Further response headers. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether an opening comment and heartbeats are sent. */
  readonly heartbeat?: (out: EventWriter) => void;
  /** How long an `EventSource` waits before it comes back, in ms, said once in a stream that can be resumed. */
  readonly retryMs?: number;
  /** Whether a lone surrogate survives, as it does in JSON; else half a pair waits for the other. */
  readonly lossless: boolean;
  /** Whether the answer is one document, written at the end: its head waits for it, whatever `commitAfterMs` says. */
  readonly buffered?: boolean;
  /** A failure before the head, as the JSON that the readers of this format know; without it a problem (RFC 9457). */
  readonly errorBody?: (problem: Problem) => string;
  /** Called once a stream. */
  open(context: FormatContext): Framer;
}

/** What all event streams have in common. */
export const EVENT_STREAM_FORMAT: Required<
  Pick<Format, "contentType" | "mediaTypes" | "heartbeat">
> = {
  contentType: "text/event-stream; charset=utf-8",
  mediaTypes: ["text/event-stream"],
  heartbeat: commentHeartbeat,
};

/** What an answer has that is one JSON document. */
export const DOCUMENT_FORMAT: Required<
  Pick<Format, "contentType" | "mediaTypes" | "lossless" | "buffered">
> = {
  contentType: "application/json",
  mediaTypes: ["application/json"],
  lossless: true,
  buffered: true,
};
