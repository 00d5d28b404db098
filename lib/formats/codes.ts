/** What can go wrong when an answer is kept until its end. */
import { type CodesOf, errorsOf } from "../error.ts";

/** The codes of this part. */
export type FormatCode = "answer_too_large";

/** The codes, with the status and the title that a client gets. */
export const FORMAT_CODES: CodesOf<FormatCode> = {
  answer_too_large: [502, "The answer is too large to buffer"],
};

/** Makes an error with one of these codes. */
const formatError = errorsOf(FORMAT_CODES);

/**
 * The most that may be kept of one response, in bytes: arguments of tool calls, and what is sent as
 * one document.
 */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;

/**
 * Makes a function that counts bytes which are kept.
 *
 * @returns A function that throws `answer_too_large` when there are too many.
 */
export function byteCounter(): (bytes: number) => void {
  let kept = 0;
  return (bytes) => {
    kept += bytes;
    if (kept > MAX_KEPT_BYTES) throw formatError("answer_too_large");
  };
}
