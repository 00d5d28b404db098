/** The name that a client gives its stream. Separate from the streams because it comes in two ways. */
import { StreamError } from "../error.ts";

const RUN_ID = /^[\w-]{1,128}$/;
/** As many characters as a stream id has, which nobody guesses. */
const SECRET_LENGTH = 22;

/**
 * Checks a name from `X-Run-Id` or `?runId=`.
 *
 * @param owner Whose it is. Where all callers share one owner, a name is all that protects a stream.
 * @throws {StreamError} `bad_request` if it is none, or too short.
 */
export function checkRunId(runId: string, owner: string | undefined): string {
  const detail = !RUN_ID.test(runId)
    ? "The run id is not 1 to 128 of A-Z a-z 0-9 _ -"
    : owner === undefined && runId.length < SECRET_LENGTH
    ? `The run id has fewer than ${SECRET_LENGTH} characters: without keys it must be hard to guess`
    : undefined;
  if (detail !== undefined) throw new StreamError("bad_request", { detail });
  return runId;
}
