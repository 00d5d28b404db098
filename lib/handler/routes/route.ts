/**
 * What a route is, and an API as one value: its routes, and how its errors look. Separate from the
 * handler because the handler serves whatever such values it is given, and the APIs do not know the
 * handler.
 */
import type { Format } from "../../formats/format.ts";
import type { StreamState } from "../../http/replay_log.ts";
import type { StandardSchema } from "../input.ts";
import type { Stats } from "../metrics.ts";
import type { Report } from "../together.ts";
import type { Source } from "../../pipeline/pump.ts";
import type { CountTokens } from "./count_tokens.ts";
import type { Models } from "./models.ts";
import type { BodyRoute, StreamRoute } from "./stream_route.ts";

/** What a route gets of a request. */
export interface Call {
  /** The request, whose path may begin with `basePath`. */
  readonly request: Request;
  /** The part of the path in place of the route's parameter; empty if the route has none. */
  readonly name: string;
  /** The owner of the request, if `authorize` is set. */
  readonly owner: string | undefined;
}

/** A method of a path, and how it answers. */
export interface Route {
  /** The method. A `GET` route responds to `HEAD` as well. */
  readonly method: "GET" | "POST" | "DELETE";
  /**
   * The path. `{name}`, once at most, stands for one segment of it or, at its end, for the rest of
   * the path.
   */
  readonly path: string;
  /** Whether the route needs no credentials, even where the others do. */
  readonly anonymous?: true;
  /** Responds to a request. What it throws becomes an error response. */
  answer(call: Call, context: RouteContext): Response | Promise<Response>;
}

/** Routes that belong together, as one value: those of a client API, a page, the document. */
export interface Api {
  /** The routes. No two values of a handler may have the same method and path. */
  readonly routes: readonly Route[];
  /** The shape of errors before the response headers. Without it they are problem objects. */
  readonly errors?: {
    /** The paths with this shape begin so, those without a route as well; the longest prefix wins. */
    readonly under: string;
    /** The format whose `errorBody` writes them. */
    readonly format: Format;
  };
  /** The formats in which its streams are recorded. */
  readonly formats?: readonly Format[];
  /** A path that the routes ask for and that another value serves, as a page its document. */
  readonly needs?: string;
}

/** A body that was read and fits its schema. */
export interface ReadBody<Body> {
  readonly body: Body;
  /** What the route makes of it. */
  readonly input: unknown;
  /** The source that the body selects. */
  readonly source: Source<never>;
}

/** What a handler offers its routes. */
export interface RouteContext {
  /** Every route of the handler. */
  readonly routes: readonly Route[];
  /** The path under which the routes begin, as `/api`, or the empty string. */
  readonly basePath: string;
  /** The schema of the input of `POST /streaming`. */
  readonly input: StandardSchema;
  /**
   * The source of requests that name no model.
   *
   * @internal
   */
  readonly source: unknown;
  /**
   * Whether the input that the handler's schema makes is that of a chat, or a chat is mapped to it.
   *
   * @internal
   */
  readonly readsChats: boolean;
  /** Whether callers have to authenticate. */
  readonly authorize: boolean;
  /** Whether there is a log, so that streams can be resumed. */
  readonly resumable: boolean;
  /**
   * The model names that the handler serves.
   *
   * @internal
   */
  readonly models: Models;
  /**
   * Starts a stream or, for a client that comes back, resumes it.
   *
   * @internal
   */
  stream<Body>(call: Call, route: StreamRoute<Body>): Promise<Response>;
  /**
   * Reads and checks a body without starting a stream.
   *
   * @internal
   */
  read<Body>(call: Call, route: BodyRoute<Body>): Promise<ReadBody<Body>>;
  /**
   * Counts the tokens of a request, if the handler's options say how.
   *
   * @internal
   */
  readonly countTokens: CountTokens | undefined;
  /** Joins or resumes a stream. */
  resume(
    call: Call,
    which: { streamId: string } | { chatId: string } | { runId: string; format?: string },
  ): Promise<Response>;
  /**
   * Resumes a stream of one format after the event with a number.
   *
   * @internal
   */
  resumeAfter(
    call: Call,
    which: { streamId: string; format: string; after: number | undefined },
  ): Promise<Response>;
  /** Stops the generation of a stream. */
  stop(call: Call, streamId: string): Promise<Response>;
  /**
   * Finds out how far a stream is.
   *
   * @internal
   */
  look(call: Call, streamId: string): Promise<StreamState>;
  /**
   * Stops a stream and drops what is held of it.
   *
   * @internal
   */
  forget(call: Call, streamId: string): Promise<void>;
  /** Returns what the handler's own `stats()` does. */
  stats(): Stats;
  /**
   * Returns what `/metrics` shows.
   *
   * @internal
   */
  counted(): Report | Promise<Report>;
  /** Returns `draining` once `drain()` was called, else how the log is. */
  health(): "ok" | "degraded" | "draining";
  /** Reports an error to the operator. */
  report(error: unknown): void;
}
