/** What can go wrong when events are decoded. */
import { type CodesOf, errorsOf, type StreamError, type StreamErrorOptions } from "../error.ts";

/** The codes of this part. */
export type DecoderCode = "line_too_large" | "event_too_large";

/** The codes, with the status and the title that a client gets. */
export const DECODER_CODES: CodesOf<DecoderCode> = {
  line_too_large: [502, "A line of the stream is too large"],
  event_too_large: [502, "An event of the stream is too large"],
};

/** Makes an error with one of these codes. */
export const decoderError: (
  code: DecoderCode,
  options?: StreamErrorOptions,
) => StreamError = errorsOf(DECODER_CODES);
