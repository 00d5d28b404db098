/** What `connect` takes, and what it shows. Separate from the connection, which is long enough. */
import type { Clock } from "../pipeline/scheduler.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import type { ClientFormat } from "./formats.ts";

/** What `new Headers` takes. It has its name in the DOM's types alone. */
export type ClientHeaders = NonNullable<ConstructorParameters<typeof Headers>[0]>;
/** What `new Response` takes as its body; likewise. */
export type ClientBody = NonNullable<ConstructorParameters<typeof Response>[0]>;
/** What `fetch` takes as its second argument; likewise. */
export type FetchInit = NonNullable<ConstructorParameters<typeof Request>[1]>;
/** What `fetch` takes beside what the connection sets, as `credentials`. */
export type RequestFields = Omit<FetchInit, "method" | "body" | "headers" | "signal">;

/** The state of a {@linkcode Connection}, and why it is so. A new object for each change. */
export interface ConnectionState {
  /**
   * - `connecting`: the request is under way.
   * - `open`: the response is read.
   * - `waiting`: the connection broke, and is made again in `inMs`.
   * - `done`: nothing more comes.
   */
  readonly status: "connecting" | "open" | "waiting" | "done";
  /**
   * Why it waits: `cut`, `stalled`, `unreachable`, or `http_` and the status. Why it is done:
   * `completed`, `nothing_new` (204), `left`, or the error's code.
   */
  readonly reason?: string;
  /** The time until the next try, in ms; only while it waits. */
  readonly inMs?: number;
  /** Tries since the last event; 0 for the first request. */
  readonly tries: number;
  /** What broke last, or the `ConnectError` that ended it. */
  readonly error?: unknown;
  /** The event that ended the stream, as `done` with its reason and usage. */
  readonly end?: ServerSentEvent | undefined;
}

/** Options of `connect`; what `fetch` takes beside them, as `credentials`, is passed on. */
export interface ConnectInit<F extends ClientFormat = "json"> extends RequestFields {
  /**
   * The method of the request. But for GET, a redirect is followed only if it repeats the request
   * (307, 308), which no browser shows; `redirect: "follow"` follows each as `fetch` does.
   * @default {"GET"}
   */
  method?: string;
  /** The body. One that can be read once, as a `ReadableStream`, is resumed by GET. */
  body?: ClientBody | null;
  /**
   * Headers, or a function that makes them, which may be async. It is called at every try, so that a
   * token that has expired is replaced. An error of it counts as a try.
   */
  headers?: ClientHeaders | (() => ClientHeaders | Promise<ClientHeaders>);
  /** Ends this connection, and not the generation: what is read gets an error of kind `aborted`. */
  signal?: AbortSignal | null;
  /** The format of the stream, for `text()`, `tokens()` and `items()`, and its end. @default {"json"} */
  format?: F;
  /** Joins this stream, by GET and from its start, and asks for no new one; `null` and `""` are none. */
  streamId?: string | null | undefined;
  /** Goes on after this event; `null` and `""` are none. */
  lastEventId?: string | null | undefined;
  /**
   * A name for the generation, sent as `X-Run-Id`: 22 characters or more of `A-Z a-z 0-9 _ -`. Where
   * the server knows that header, a POST that got no response is sent again without risk.
   */
  runId?: string | undefined;
  /**
   * The address of a stream by its id, for GET (resume) and DELETE (stop).
   * @default {the request's path, a slash and the id; and a resume is the same request again}
   */
  streamUrl?: (streamId: string) => string | URL;
  /**
   * Whether what cannot be resumed is asked for again from its start, as an `EventSource` does. Events
   * may come twice, and a server without a log generates again. @default {false}
   */
  restart?: boolean;
  /** Whether this event is the stream's end, where the format does not say. */
  isEnd?: (event: ServerSentEvent) => boolean;
  /** Tries without an event before it gives up: 0 or more. @default {8} */
  maxRetries?: number;
  /**
   * The first wait in ms, 1 or more, until the stream sets `retry:`. It doubles with each try.
   * @default {1000}
   */
  retryMs?: number;
  /** The longest wait in ms that is not the server's own wish, 1 or more. @default {30 000} */
  maxRetryMs?: number;
  /**
   * Silence in ms after which the connection counts as broken; 0 is off.
   * @default {three of the server's heartbeats, once it has told or sent them; else off}
   */
  stallMs?: number;
  /** UTF-16 units of the longest event, 1 or more. @default {1 048 576} */
  maxEventLength?: number;
  /** Is called with every new state. */
  onState?: (state: ConnectionState) => void;
  /** What requests are made with. @default {the runtime's} */
  fetch?: (input: string | Request, init: FetchInit) => Promise<Response>;
  /** The clock, for tests. @default {the runtime's} */
  clock?: Clock;
}

/** Why a connection broke that may be made again. */
export interface Break {
  readonly reason: string;
  readonly error?: unknown;
  readonly status?: number;
  /** The wait that the server asked for, in ms. */
  readonly retryAfterMs?: number | undefined;
  /** Whether the server has certainly started nothing. */
  readonly isUnsent?: boolean;
}

/** The least that a number may be. */
const LEAST: Readonly<Record<string, number>> = {
  maxRetries: 0,
  retryMs: 1,
  maxRetryMs: 1,
  stallMs: 0,
  maxEventLength: 1,
};
/** The other options; then what `fetch` takes and `Request.prototype` has not on every runtime. */
const OTHERS = " format streamId lastEventId runId streamUrl restart isEnd onState fetch clock " +
  "duplex keepalive priority cf client dispatcher next proxy tls unix ";

/**
 * Rejects options that no try could change.
 *
 * @throws {TypeError} If there is no such option, or `headers` are none.
 * @throws {RangeError} If a number is out of its bounds.
 */
export function checkInit(init: ConnectInit<ClientFormat>): void {
  if (typeof init.headers !== "function") new Headers(init.headers);
  for (const [name, value] of Object.entries(init)) {
    const least = LEAST[name];
    if (least === undefined) {
      if (OTHERS.includes(` ${name} `) || name in Request.prototype) continue;
      throw new TypeError(`Cannot connect: unknown option ${name}`);
    }
    // Nothing but a number is itself then, and no NaN.
    if (value !== undefined && Math.max(value as number, least) !== value) {
      throw new RangeError(`Cannot connect: ${name} is ${value}, not ${least} or more`);
    }
  }
}
