/** How an upstream rejects a request: its fault is the client's, and asking again does not help. */
import { type CodesOf, errorsOf, type StreamError, type StreamErrorOptions } from "../error.ts";

/** The codes of this part. */
export type UpstreamCode =
  | "context_length_exceeded"
  | "upstream_bad_request"
  | "upstream_too_large"
  | "upstream_unprocessable";

/** The codes, with the status and the title that a client gets. */
export const UPSTREAM_CODES: CodesOf<UpstreamCode> = {
  context_length_exceeded: [400, "The prompt is too long for the model"],
  upstream_bad_request: [400, "The upstream rejected the request"],
  upstream_too_large: [413, "The request is too large for the upstream"],
  upstream_unprocessable: [422, "The upstream cannot process the request"],
};

/** Makes an error with one of these codes. */
export const upstreamError: (
  code: UpstreamCode,
  options?: StreamErrorOptions,
) => StreamError = errorsOf(UPSTREAM_CODES);
