/** What can go wrong with a stream: one error class and one table of codes, for every layer. */

/** Codes with the status and the title that a client gets. */
export type CodesOf<Code extends string> = Readonly<
  Record<Code, readonly [status: number, title: string]>
>;

/**
 * The codes of a stream, and those that sources throw. Codes that one part alone throws stay with it,
 * so that a program without that part does not hold them.
 */
export const CODES: CodesOf<string> = {
  internal: [500, "The source failed"],
  item_too_large: [500, "An item of the source is too large"],
  overflow: [503, "The client read too slowly and the queue is full"],
  stalled: [408, "The client stopped reading"],
  disconnected: [499, "The client disconnected"],
  stopped: [499, "The generation was stopped"],
  shutting_down: [503, "The server is shutting down"],
  bad_upstream: [502, "The upstream did not respond with an event stream"],
  upstream_timeout: [504, "The upstream did not respond in time"],
  rate_limited: [429, "The upstream is limiting its requests"],
  upstream_failed: [502, "The upstream failed"],
  truncated: [502, "The upstream ended before its answer was complete"],
  bad_request: [400, "The request is malformed"],
  unauthorized: [401, "Missing or invalid credentials"],
  forbidden: [403, "The request is not allowed"],
  not_found: [404, "Not found"],
  not_acceptable: [406, "No acceptable media type"],
};

/** Options of {@linkcode StreamError}. */
export interface StreamErrorOptions {
  /** HTTP status, 400 to 599. @default {that of a code that sources throw, else 500} */
  status?: number;
  /** One short sentence for the client. @default {the title of the code} */
  title?: string;
  /** What is special about this occurrence, for the client. */
  detail?: string;
  /** Seconds after which the client should retry, sent as `Retry-After`; 0 or more. */
  retryAfter?: number;
  /** The cause of the error, for the operator only; never sent. */
  cause?: unknown;
}

/** A problem object (RFC 9457) with Spillway's `code`. */
export interface Problem {
  /** A URI of the kind of problem; always `about:blank`, because `code` names it. */
  type: string;
  /** One short sentence, the same for each occurrence. */
  title: string;
  /** The HTTP status, 400 to 599; where the response had begun, the one that it would have had. */
  status: number;
  /** What went wrong, as one word for programs. */
  code: string;
  /** What is special about this occurrence. */
  detail?: string;
  /** Present if only this client's connection failed: the stream goes on, and can be resumed. */
  resume?: true;
  /** Faults of the input, each with a JSON pointer (RFC 6901). */
  errors?: { pointer: string; detail: string }[];
}

/**
 * An error that the client may see. If a source throws one, its code, status, title and detail are
 * sent, never its cause. Every other error reaches the client as `500 internal`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { StreamError } from "spillway";
 *
 * const error = new StreamError("quota_exceeded", { status: 429, title: "Come back tomorrow" });
 * assert(error.code === "quota_exceeded" && error.status === 429);
 * ```
 */
export class StreamError extends Error {
  /** The name of the class, which stays when a bundler shortens that of its variable. */
  override readonly name = "StreamError";
  /** What went wrong, as one word for programs. */
  readonly code: string;
  /** The HTTP status that the client gets if nothing was sent yet. */
  readonly status: number;
  /** One short sentence for the client, the same for each occurrence. */
  readonly title: string;
  /** What is special about this occurrence, for the client; `undefined` if nothing was said. */
  readonly detail: string | undefined;
  /** Seconds after which the client should retry, 0 or more; `undefined` sends no `Retry-After`. */
  readonly retryAfter: number | undefined;

  /**
   * Creates an error with a code and its public text.
   *
   * @throws {RangeError} If `status` is not an integer from 400 to 599, or `retryAfter` is not 0 or
   * more.
   */
  constructor(code: string, options: StreamErrorOptions = {}) {
    const known = Object.hasOwn(CODES, code) ? CODES[code]! : [500, "The stream failed"] as const;
    const { status = known[0], title = known[1], detail, retryAfter } = options;
    super(detail ?? title, options);
    this.code = code;
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.retryAfter = retryAfter;
    const isGood = Number.isInteger(status) && status >= 400 && status < 600 &&
      (retryAfter === undefined || (retryAfter >= 0 && retryAfter < Infinity));
    if (!isGood) {
      throw new RangeError("StreamError: status is not 400 to 599, or retryAfter not 0 or more");
    }
  }
}

/** Makes errors with the codes of one part, which {@linkcode StreamError} does not know. */
export function errorsOf<Code extends string>(
  codes: CodesOf<Code>,
): (code: Code, options?: StreamErrorOptions) => StreamError {
  return (code, options) => {
    const [status, title] = codes[code];
    return new StreamError(code, { status, title, ...options });
  };
}

/** A JSON pointer as people write it: `messages[0].role`; `""` is the entire value. */
export function pathOf(pointer: string): string {
  return pointer.slice(1).split("/")
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((path, step) => /^\d+$/.test(step) ? `${path}[${step}]` : `${path}.${step}`);
}

/** The error as the client may see it: anything but a {@linkcode StreamError} becomes `internal`. */
export function publicError(error: unknown): StreamError {
  return error instanceof StreamError ? error : new StreamError("internal", { cause: error });
}

/** The RFC 9457 object of an error, without the message, stack or cause of any other error. */
export function problemOf(error: unknown): Problem {
  const { title, status, code, detail } = publicError(error);
  const problem: Problem = { type: "about:blank", title, status, code };
  if (detail !== undefined) problem.detail = detail;
  return problem;
}

/** An `upstream_failed` error; `text`, what the upstream said, is for the operator alone. */
export function upstreamFailed(text: string): StreamError {
  return new StreamError("upstream_failed", { cause: new Error(text.slice(0, 2000)) });
}

/** Calls an embedder's function, which may throw, or be async and reject. */
export function callSafely<T>(
  callback: (value: T) => unknown,
  value: T,
  fail: (error: unknown) => void,
): void {
  new Promise((resolve) => resolve(callback(value))).catch(fail);
}

/**
 * Reports an error to the operator through `onError`, or the console where there is none. Never
 * throws.
 */
export function report(
  onError: ((error: unknown) => void) | undefined,
  error: unknown,
): void {
  // If `onError` itself throws, its error has nowhere else to go.
  callSafely(onError ?? console.error, error, () => {});
}
