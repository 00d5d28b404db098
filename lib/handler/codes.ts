/** What can go wrong with a request before it has a stream. */
import { type CodesOf, errorsOf, type StreamError, type StreamErrorOptions } from "../error.ts";

/** The codes of this part. */
export type HandlerCode =
  | "model_not_found"
  | "method_not_allowed"
  | "request_timeout"
  | "payload_too_large"
  | "unsupported_media_type"
  | "misdirected"
  | "invalid_input"
  | "thread_unsupported_request"
  | "too_many_bodies"
  | "too_many_streams";

/** The codes, with the status and the title that a client gets. */
export const HANDLER_CODES: CodesOf<HandlerCode> = {
  model_not_found: [404, "Model not found"],
  method_not_allowed: [405, "Method not allowed"],
  request_timeout: [408, "The request body did not arrive in time"],
  payload_too_large: [413, "The request body is too large"],
  unsupported_media_type: [415, "Unsupported media type"],
  misdirected: [421, "This host is not served here"],
  invalid_input: [422, "The input does not match the schema"],
  thread_unsupported_request: [400, "Message threads are not kept here"],
  too_many_bodies: [503, "Too many request bodies at once"],
  too_many_streams: [503, "Too many open streams"],
};

/** Makes an error with one of these codes. */
export const handlerError: (
  code: HandlerCode,
  options?: StreamErrorOptions,
) => StreamError = errorsOf(HANDLER_CODES);
