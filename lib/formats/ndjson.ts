/** The `ndjson` format: one JSON object per line, for clients that do not read event streams. */
import type { Problem } from "../error.ts";
import type { End, Format, Framer } from "./format.ts";
import type { EventWriter } from "../sse/encode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { jsonFrame } from "../sse/utf8.ts";

const TOKEN = jsonFrame('{"token":"', '"}\n');

function line(out: EventWriter, event: string | undefined, json: string): void {
  const name = event === undefined ? "" : `"event":${JSON.stringify(event)},`;
  out.utf8(`{${name}"data":${json}}\n`);
}

const framer: Framer = {
  frame: TOKEN,
  token: (out: EventWriter, text: string): void => out.frame(TOKEN, text),
  structured: line,
  relayed(out: EventWriter, { event, data }: ServerSentEvent): void {
    line(out, event === "message" ? undefined : event, JSON.stringify(data));
  },
  end: (out: EventWriter, end: End): void => line(out, "done", JSON.stringify(end)),
  fail: (out: EventWriter, problem: Problem): void => line(out, "failed", JSON.stringify(problem)),
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
