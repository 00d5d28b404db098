/**
 * `createHandler()`: the whole server as one `fetch` function, a literal table of routes over the
 * files in `http/`. It gets its source as an option and reads no environment.
 */
import { active } from "./counters.ts";
import { StreamError } from "./error.ts";
import { type AccessOptions, checkAccess, grantAccess, preflight } from "./http/access.ts";
import { metrics, type Stats, Totals } from "./http/metrics.ts";
import type { BodyLimits } from "./http/request.ts";
import { jsonResponse, problemResponse } from "./http/response.ts";
import { callSafely } from "./generation.ts";
import { checkOptions, type Live, type SseOptions, type StreamExtras } from "./http/sse.ts";
import { type QueryInput, streaming } from "./http/streaming.ts";
import type { Source } from "./pump.ts";

/** Limits of a handler. */
export interface HandlerLimits extends BodyLimits {
  /** Streams that may be open at once, 1 or more; further ones get 503. @default {10 000} */
  maxStreams?: number;
}

/** Options of {@linkcode createHandler}. */
export interface HandlerOptions extends Omit<SseOptions, "format">, AccessOptions {
  /** Makes the answer to an input. */
  source: Source<QueryInput>;
  /** Where the routes begin, as `/api`. @default {the root} */
  basePath?: string;
  limits?: HandlerLimits;
  /** What a reader's departure does to the generation; without a log there is one answer. @default {"cancel"} */
  disconnect?: "cancel";
}

/** What {@linkcode createHandler} makes. Its methods are bound. */
export interface Handler {
  /** Answers a request. Never rejects. `info` is the runtime's second argument, if it has one. */
  readonly fetch: (request: Request, info?: unknown) => Promise<Response>;
  /**
   * Takes no new streams, waits for the live ones, and ends those that are left after `timeoutMs`
   * (0 or more, 25 000 by default) with `failed` and `shutting_down`. Resolves when none is left.
   */
  readonly drain: (options?: { timeoutMs?: number }) => Promise<void>;
  /** What is open in this process, and what this handler has done. */
  readonly stats: () => Stats;
}

type Route = (request: Request) => Response | Promise<Response>;

/**
 * The server as a `fetch` function, for `Bun.serve`, `Deno.serve` and every runtime that has one.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { createHandler } from "spillway";
 *
 * const handler = createHandler({
 *   source: async function* ({ input }) {
 *     yield* input.query.split(" ");
 *   },
 * });
 * const response = await handler.fetch(new Request("http://localhost/health"));
 * assert(response.status === 200);
 * ```
 *
 * @throws {RangeError} If an option is out of its bounds.
 * @throws {TypeError} If an option is of the wrong type.
 */
export function createHandler(options: HandlerOptions): Handler {
  check(options);
  const { basePath = "", limits = {} } = options;
  const live = new Set<Live>();
  const totals = new Totals();
  let state: "serving" | "draining" = "serving";
  /** Streams that are open, and requests that are about to open one. */
  let taken = 0;
  const drains = new Set<() => void>();

  const streamOptions: SseOptions = {
    ...options,
    onClose: (report) => {
      totals.add(report);
      options.onClose?.(report);
    },
  };

  function mayStream(): void {
    if (state === "draining") throw new StreamError("shutting_down", { retryAfter: 1 });
  }

  async function stream(request: Request): Promise<Response> {
    mayStream();
    if (taken >= (limits.maxStreams ?? 10_000)) {
      throw new StreamError("too_many_streams", { retryAfter: 1 });
    }
    taken++;
    let opened = false;
    const extras: StreamExtras = {
      onOpen: (stream) => {
        // The body took its time, and much may have changed.
        mayStream();
        opened = true;
        live.add(stream);
      },
      onEnd: (stream) => {
        taken--;
        live.delete(stream);
        if (live.size === 0) { for (const drained of drains) drained(); }
      },
    };
    try {
      const source = options.source as Source<never>;
      return await streaming(request, source, streamOptions, limits, extras);
    } finally {
      if (!opened) taken--;
    }
  }

  const routes: Record<string, Record<string, Route>> = {
    "/streaming": { POST: stream },
    "/health": {
      GET: () =>
        state === "serving"
          ? jsonResponse({ status: "ok" })
          : jsonResponse({ status: "draining" }, 503),
    },
    "/metrics": { GET: (request) => metrics(request, totals.stats()) },
  };

  async function answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    checkAccess(request, url, options);
    const methods = url.pathname.startsWith(basePath)
      ? own(routes, url.pathname.slice(basePath.length))
      : undefined;
    if (methods === undefined) throw new StreamError("not_found");
    const allow = [...Object.keys(methods), ..."GET" in methods ? ["HEAD"] : [], "OPTIONS"];
    if (request.method === "OPTIONS") return preflight(allow.join(", "));
    const route = own(methods, request.method);
    if (route !== undefined) return await route(request);
    if (request.method === "HEAD" && methods.GET !== undefined) {
      const { status, headers } = await methods.GET(request);
      return new Response(null, { status, headers });
    }
    const headers = new Headers(options.headers);
    headers.set("allow", allow.join(", "));
    return problemResponse(new StreamError("method_not_allowed"), headers);
  }

  async function fetch(request: Request, info?: unknown): Promise<Response> {
    let response: Response;
    try {
      neverIdle(request, info);
      response = await answer(request);
    } catch (error) {
      // If the handler for errors is broken itself, there is nobody left to tell.
      if (!(error instanceof StreamError)) {
        callSafely(options.onError ?? console.error, error, () => {});
      }
      response = problemResponse(error, options.headers);
    }
    return grantAccess(request, response, options);
  }

  async function drain({ timeoutMs = 25_000 } = {}): Promise<void> {
    if (!(timeoutMs >= 0 && timeoutMs < 2 ** 31)) {
      throw new RangeError(`Cannot drain: timeoutMs is ${timeoutMs}, not 0 or more`);
    }
    state = "draining";
    if (live.size > 0 && timeoutMs > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, timeoutMs);
        active.timers++;
        drains.add(done);
        function done(): void {
          if (!drains.delete(done)) return;
          clearTimeout(timer);
          active.timers--;
          resolve();
        }
      });
    }
    for (const stream of live) stream.shutDown(new StreamError("shutting_down"));
  }

  return { fetch, drain, stats: () => totals.stats() };
}

/** A property of the table's own: a path or a method may be called `constructor`. */
function own<T>(table: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** Bun cuts what stays silent for 8 to 12 s, also a model that thinks, unless it is told not to. */
function neverIdle(request: Request, info: unknown): void {
  if (typeof info !== "object" || info === null || !("timeout" in info)) return;
  if (typeof info.timeout === "function") info.timeout(request, 0);
}

function isString(value: unknown): value is string {
  return typeof value === "string";
}

function check(options: HandlerOptions): void {
  checkOptions(options);
  const { source, basePath = "", disconnect = "cancel", limits = {} } = options;
  if (source === undefined || source === null) {
    throw new TypeError("Cannot create the handler: source is missing");
  }
  if (!["function", "object", "string"].includes(typeof source)) {
    throw new TypeError(`Cannot create the handler: source is a ${typeof source}`);
  }
  for (const name of ["cors", "allowedHosts"] as const) {
    const value: unknown = options[name];
    // A string has an `includes` of its own, which would grant every part of it.
    if (value === undefined || (Array.isArray(value) && value.every(isString))) continue;
    throw new TypeError(`Cannot create the handler: ${name} is not an array of strings`);
  }
  for (const origin of options.cors ?? []) {
    if (origin === "*" || (URL.canParse(origin) && new URL(origin).origin === origin)) continue;
    throw new TypeError(`Cannot create the handler: cors has ${origin}, not like https://a.com`);
  }
  if (basePath !== "" && !/^(\/[\w.~-]+)+$/.test(basePath)) {
    throw new TypeError(`Cannot create the handler: basePath ${basePath} is not like /api`);
  }
  if (disconnect !== "cancel") {
    throw new TypeError(
      "Cannot create the handler: disconnect needs a log to be anything but cancel",
    );
  }
  for (const [name, value] of Object.entries(limits)) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new RangeError(`Cannot create the handler: limits.${name} is not a positive integer`);
    }
  }
}
