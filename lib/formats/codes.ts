/** What can go wrong when an answer is kept until its end. */
import { type CodesOf, errorsOf, type StreamError, type StreamErrorOptions } from "../error.ts";

/** The codes of this part. */
export type FormatCode = "answer_too_large";

/** The codes, with the status and the title that a client gets. */
export const FORMAT_CODES: CodesOf<FormatCode> = {
  answer_too_large: [502, "The answer is too large to buffer"],
};

/** Makes an error with one of these codes. */
export const formatError: (
  code: FormatCode,
  options?: StreamErrorOptions,
) => StreamError = errorsOf(FORMAT_CODES);
