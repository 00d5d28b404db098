/** The `plain` format: only the text, for `curl` and for clients that want no framing. */
import type { EventSink, Format, Framer } from "./format.ts";
import { BARE } from "../sse/utf8.ts";

const framer: Framer = {
  frame: BARE,
  token: (out: EventSink, text: string): void => out.text(text),
  structured(out: EventSink, event: string | undefined, _json: string, data: unknown): void {
    if (event === "refusal") out.text(`${Object(data).text ?? ""}`);
  },
  end: (): void => {},
};

/**
 * The `plain` format: only the text, also that of a refusal. Other structured items are dropped, and
 * a failure breaks off the body.
 */
export const plainFormat: Format = {
  name: "plain",
  contentType: "text/plain; charset=utf-8",
  mediaTypes: ["text/plain"],
  lossless: false,
  open: () => framer,
};
