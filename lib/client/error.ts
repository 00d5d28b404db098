/** How a connection ends early. Separate from `StreamError` because a client decides by the kind. */
import type { Problem } from "../error.ts";

/**
 * Why a connection ended before its stream did:
 *
 * - `refused`: the server returned a status, or a body, that no further try would change.
 * - `gone`: 404 or 410 for a stream that is not, or no longer, there; or another one in its place.
 * - `gave-up`: the connection broke, and the tries without progress are used up, or going on would
 *   start another generation.
 * - `failed`: the stream itself says that it failed, or holds what cannot be read.
 * - `aborted`: the signal fired, or `leave()` was called.
 */
export type ConnectErrorKind = "refused" | "gone" | "gave-up" | "failed" | "aborted";

/** What a {@linkcode ConnectError} is made of. */
export interface ConnectErrorInit {
  /** What went wrong, as one word for programs. */
  code: string;
  /** The HTTP status, where there was one. */
  status?: number | undefined;
  /** What the server said of it, where that is a problem object. */
  problem?: Partial<Problem> | undefined;
  /** The cause, as an error of `fetch`. */
  cause?: unknown;
}

/** What a server says of a failure: a problem object, or one with the error of a model API. */
export function saidIn(said: { error?: unknown }): {
  code: string | undefined;
  text: string | undefined;
} {
  const { error = said } = said;
  const { code, type, title, detail, message, errorText } = Object(error);
  return {
    // The type of a problem object is an address.
    code: [code, error !== said && type].find(isText),
    text: [errorText, message, detail, title, error].find(isText),
  };
}

/** Whether a value is a text. */
export function isText(value: unknown): value is string {
  return typeof value === "string";
}

/** The error of a {@linkcode Connection}: its kind, what the server said, and what was read before. */
export class ConnectError extends Error {
  /** The name of the class, which stays when a bundler shortens that of its variable. */
  override readonly name = "ConnectError";
  /** Why the connection ended. */
  declare readonly kind: ConnectErrorKind;
  /**
   * What went wrong, as one word for programs: the server's own code, else `http_` and the status, or
   * one of `cut`, `stalled`, `unreachable`, `not_resumable`, `redirected`, `other_stream`,
   * `no_event_stream`, `no_body`, `malformed`, `event_too_large`, `left` and `failed`.
   */
  declare readonly code: string;
  /** The HTTP status, where there was one; 0 for a redirect in a browser, which hides it. */
  declare readonly status: number | undefined;
  /** What the server said of it, where that is a problem object. */
  declare readonly problem: Partial<Problem> | undefined;
  /** The number of events that were read before. */
  events = 0;
  /** The text that was read before by `text()`, `tokens()` or `items()`; `""` in a loop over events. */
  text = "";
  /** The id of the last event that was read; `""` where none had one. */
  lastEventId = "";
  /** The id of the stream, with which it can be joined again; `undefined` where none was named. */
  streamId: string | undefined;

  /** Creates an error. The connection adds what was read. */
  constructor(kind: ConnectErrorKind, message: string, init: ConnectErrorInit) {
    super(message, init);
    Object.assign(this, init, { kind });
  }
}
