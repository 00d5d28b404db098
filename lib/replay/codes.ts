/** What can go wrong with a stream that is recorded or resumed. */
import { type CodesOf, errorsOf, type StreamError, type StreamErrorOptions } from "../error.ts";

/** The codes of this part. */
export type ReplayCode =
  | "lagged"
  | "gone"
  | "log_unavailable"
  | "producer_lost"
  | "log_full"
  | "stream_exists";

/** The codes, with the status and the title that a client gets. */
export const REPLAY_CODES: CodesOf<ReplayCode> = {
  lagged: [503, "The client fell behind what the log still holds"],
  gone: [410, "The log no longer holds this position"],
  log_unavailable: [503, "The replay log is unavailable"],
  producer_lost: [502, "The process that produced the stream is gone"],
  log_full: [503, "The replay log is full"],
  stream_exists: [409, "A stream with this name exists"],
};

/** Makes an error with one of these codes. */
export const replayError: (
  code: ReplayCode,
  options?: StreamErrorOptions,
) => StreamError = errorsOf(REPLAY_CODES);
