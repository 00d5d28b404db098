/** The `ndjson` format: one JSON object per line, for clients that do not read event streams. */
import type { Problem } from "../error.ts";
import type { End, EventSink, Format, Framer } from "./format.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { jsonFrame } from "../sse/utf8.ts";

const TOKEN = jsonFrame('{"token":"', '"}\n');

function line(out: EventSink, event: string | undefined, json: string): void {
  const name = event === undefined ? "" : `"event":${JSON.stringify(event)},`;
  out.text(`{${name}"data":${json}}\n`);
}

const framer: Framer = {
  frame: TOKEN,
  token: (out: EventSink, text: string): void => out.frame(TOKEN, text),
  structured: line,
  relayed(out: EventSink, { event, data }: ServerSentEvent): boolean {
    line(out, event === "message" ? undefined : event, JSON.stringify(data));
    return true;
  },
  end: (out: EventSink, end: End): void => line(out, "done", JSON.stringify(end)),
  fail: (out: EventSink, problem: Problem): void => line(out, "failed", JSON.stringify(problem)),
};

/**
 * The `ndjson` format: one item is `{"token"}` or `{"event","data"}` on a line; the last line is
 * `done` or `failed`.
 */
export const ndjsonFormat: Format = {
  name: "ndjson",
  contentType: "application/x-ndjson; charset=utf-8",
  mediaTypes: ["application/x-ndjson", "application/ndjson"],
  lossless: true,
  open: () => framer,
};
