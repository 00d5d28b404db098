/** The `plain` format: only the text, for `curl` and for clients that want no framing. */
import type { Format, Framer } from "./format.ts";
import type { EventWriter } from "../sse/encode.ts";
import { BARE } from "../sse/utf8.ts";

const framer: Framer = {
  frame: BARE,
  token: (out: EventWriter, text: string): void => out.utf8(text),
  structured: (): void => {},
  relayed: (): void => {},
  end: (): void => {},
};

/**
 * The `plain` format: only the text. Structured items are dropped, and a failure breaks off the
 * body.
 */
export const plainFormat: Format = {
  name: "plain",
  contentType: "text/plain; charset=utf-8",
  mediaTypes: ["text/plain"],
  lossless: false,
  open: () => framer,
};
