/**
 * The options of `sse()`, `resume()` and `stop()`, and their one check. Separate from them because
 * the handler checks its options once and not with every request.
 */
import type { Format } from "../formats/format.ts";
import type { GenerationOptions } from "../pipeline/generation.ts";
import { checkOptionNames } from "../option_names.ts";
import { checkLimits } from "../pipeline/queue.ts";
import { hasMethod } from "../values.ts";
import type { ReaderOptions } from "../pipeline/stream.ts";
import type { LoggedOptions, ReplayLog, ResumeRequest, StopRequest } from "./replay_log.ts";
import type { HeaderFields } from "./response.ts";

/** Names of the formats that a request may ask for. */
export type FormatName = "json" | "text" | "plain" | "ndjson";

/** Options of {@linkcode sse}. */
export interface SseOptions extends ReaderOptions, GenerationOptions, LoggedOptions {
  /** The format of the stream. @default {`?format=`, else what `Accept` prefers, else `json`} */
  format?: FormatName | Format;
  /** Further response headers; they may not replace `content-type`. */
  headers?: HeaderFields;
  /**
   * The log that makes event streams resumable: their events get ids and are kept there. Other
   * formats are not logged.
   */
  log?: ReplayLog;
}

/** Options of {@linkcode resume}. */
export interface ResumeOptions extends ResumeRequest {
  /** The log in which the stream was recorded. */
  log: ReplayLog;
}

/** Options of {@linkcode stop}. */
export interface StopOptions extends StopRequest {
  /** The log in which the stream was recorded. */
  log: ReplayLog;
}

const CHECKED: unique symbol = Symbol();

/** Options that {@linkcode checkOptions} has checked. The mark goes with a copy of them. */
export interface CheckedOptions extends SseOptions {
  readonly [CHECKED]: true;
}

const NAMES = [
  "format",
  "headers",
  "heartbeatMs",
  "commitAfterMs",
  "stallMs",
  "highWaterMark",
  "maxBufferedBytes",
  "onClose",
  "onError",
  "log",
  "streamId",
  "owner",
  "chatId",
  "disconnect",
  "clock",
] as const satisfies readonly (keyof SseOptions)[];
/**
 * Checks every stream option, unless that has been done.
 *
 * @throws {RangeError} If an option is out of its bounds; the message names it.
 * @throws {TypeError} If an option is unknown or of the wrong type.
 */
export function checkOptions(options: SseOptions): CheckedOptions {
  if ((options as Partial<CheckedOptions> | undefined)?.[CHECKED]) return options as CheckedOptions;
  checkOptionNames("Cannot stream", options, NAMES);
  const { format, heartbeatMs, commitAfterMs, stallMs, streamId, disconnect, log } = options;
  checkLimits(options);
  if (format !== undefined && typeof format !== "string" && !hasMethod(format, "open")) {
    throw notValid("format is neither a format nor the name of one");
  }
  if (streamId !== undefined && !/^[\w-]{1,128}$/.test(streamId)) {
    throw notValid("streamId is not 1 to 128 of A-Z a-z 0-9 _ -");
  }
  for (const name of ["onClose", "onError"] as const) {
    if (options[name] !== undefined && typeof options[name] !== "function") {
      throw notValid(`${name} is a ${typeof options[name]}, not a function`);
    }
  }
  if (options.headers !== undefined) checkHeaders(new Headers(options.headers));
  checkMs("heartbeatMs", heartbeatMs, 100, 60_000);
  checkMs("stallMs", stallMs, 100, 2 ** 31 - 1);
  checkMs("commitAfterMs", commitAfterMs, 0, 5000);
  if (log !== undefined) log.check(options);
  else if (disconnect !== undefined && disconnect !== "cancel") {
    throw notValid("disconnect needs a log unless it is cancel");
  }
  return { ...options, [CHECKED]: true };
}

/**
 * Headers that belong to one connection, or describe how the body is framed: the runtime sends
 * them.
 */
const NOT_OURS = [
  "connection",
  "content-encoding",
  "content-length",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

function checkHeaders(headers: Headers): void {
  const name = NOT_OURS.find((name) => headers.has(name));
  if (name !== undefined) {
    throw notValid(`the header ${name} is not yours to set`);
  }
}

function notValid(why: string): TypeError {
  return new TypeError(`Cannot stream: ${why}`);
}

function checkMs(name: string, value: number | undefined, min: number, max: number): void {
  if (value === undefined || value === 0) return;
  if (typeof value === "number" && value >= min && value <= max) return;
  throw new RangeError(`Cannot stream: ${name} is ${value}, not 0 or ${min} to ${max}`);
}
