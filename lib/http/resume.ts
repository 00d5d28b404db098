/**
 * `resume()` and `stop()`: replay from a log for returning clients. Separate from the handler so
 * that any framework can embed replay.
 */
import { StreamError } from "../error.ts";
import { checkOptionNames } from "../option_names.ts";
import type { ResumeOptions, StopOptions } from "./options.ts";
import { checkRequest } from "./request.ts";
import { errorResponse } from "./response.ts";

const NAMES: Record<keyof ResumeOptions, true> = {
  log: true,
  streamId: true,
  chatId: true,
  owner: true,
  format: true,
  formats: true,
  headers: true,
  heartbeatMs: true,
  commitAfterMs: true,
  stallMs: true,
  clock: true,
};

/**
 * Resumes a recorded stream after the position in `Last-Event-ID`, else in `?lastEventId=`; without
 * one from the start.
 *
 * If the client has read the stream to its end: 204 on GET, which tells an `EventSource` to stop,
 * else the end once more. Malformed, or past the end: 400. Unknown, forgotten, or another owner's:
 * 404. In another format: 406. No longer held: 410.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { MemoryLog, resume, sse } from "spillway";
 *
 * const log = new MemoryLog();
 * const response = await sse(new Request("http://localhost/"), ["Hel", "lo"], { log, format: "text" });
 * await response.text();
 * const id = response.headers.get("x-stream-id");
 * const again = new Request("http://localhost/", { headers: { "last-event-id": `${id}.1` } });
 * assert((await (await resume(again, { log })).text()).includes("data: lo"));
 * ```
 */
export async function resume(
  request: Request,
  options: ResumeOptions,
): Promise<Response> {
  checkRequest("Cannot resume", request);
  checkOptionNames("Cannot resume", options, Object.keys(NAMES));
  if (options.format !== undefined && typeof options.format !== "string") {
    throw new TypeError("Cannot resume: format is the name of a format; pass formats: [format]");
  }
  try {
    return await options.log.resume(request, options, {});
  } catch (error) {
    if (!(error instanceof StreamError)) throw error;
    return errorResponse(error, options.headers);
  }
}

/**
 * Ends a generation, whatever number of clients it has and wherever it runs: what is queued is
 * delivered, then every client gets the normal end of its format.
 *
 * @returns Whether there is such a stream; also `true` where it had ended.
 */
export async function stop(options: StopOptions): Promise<boolean> {
  checkOptionNames("Cannot stop", options, ["log", "streamId", "owner", "reason"]);
  return await options.log.stop(options);
}
