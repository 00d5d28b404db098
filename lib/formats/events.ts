/**
 * `json` and `text`, Spillway's own event streams. They share a file because they differ only in
 * how a token is written.
 */
import type { Problem } from "../error.ts";
import { type End, type EventSink, eventStreamFormat, type Format, type Framer } from "./format.ts";
import { DATA, eventFrame } from "../sse/encode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import type { Frame } from "../sse/utf8.ts";

const TOKEN = eventFrame(undefined, '{"token":"', '"}');
const LF = 0x0a;
const CR = 0x0d;

class JsonFramer implements Framer {
  frame: Frame | undefined = TOKEN;

  token(out: EventSink, text: string): void {
    out.frame(TOKEN, text);
  }

  structured(out: EventSink, event: string | undefined, json: string): void {
    out.event(event === undefined ? { data: json } : { event, data: json });
  }

  relayed(out: EventSink, { event, data }: ServerSentEvent): boolean {
    out.event({ event: event === "message" ? "" : event, data });
    return true;
  }

  end(out: EventSink, end: End): void {
    out.event({ event: "done", data: JSON.stringify(end) });
  }

  fail(out: EventSink, problem: Problem): void {
    out.event({ event: "failed", data: JSON.stringify(problem) });
  }
}

class TextFramer extends JsonFramer {
  /**
   * The frame for tokens; absent after a token that ended in CR, because an LF at the start of the
   * next one belongs to that CR.
   */
  override frame: Frame | undefined = DATA;

  override token(out: EventSink, text: string): void {
    if (this.frame === undefined && text.charCodeAt(0) === LF) text = text.slice(1);
    this.frame = text.charCodeAt(text.length - 1) === CR ? undefined : DATA;
    if (text !== "") out.data(text);
  }

  override structured(out: EventSink, event: string | undefined, json: string): void {
    // Without an event name the client could not distinguish it from a token.
    if (event !== undefined) super.structured(out, event, json);
  }
}

/** Spillway's `json` format: one token is `data: {"token":"Hel"}`, and any string arrives unchanged. */
export const jsonFormat: Format = {
  ...eventStreamFormat,
  // How long an `EventSource` waits before it reconnects.
  retryMs: 1000,
  name: "json",
  lossless: true,
  open: () => new JsonFramer(),
};

/** Spillway's `text` format: one token is its text in `data: ` lines; CRLF and CR arrive as LF. */
export const textFormat: Format = {
  ...jsonFormat,
  name: "text",
  lossless: false,
  open: () => new TextFramer(),
};
