/**
 * `createHandler()`: the entire server as one `fetch` function, with a literal table of routes. Its
 * source is an option, and it reads no environment.
 */
import { active } from "./counters.ts";
import { report as reportTo, StreamError } from "./error.ts";
import type { Format } from "./formats/format.ts";
import { anthropicFormat } from "./formats/anthropic.ts";
import { openaiFormat } from "./formats/openai.ts";
import {
  type AccessOptions,
  checkAccess,
  grantAccess,
  ownerOf,
  preflight,
} from "./handler/access.ts";
import { isStandardSchema, type OutputOf, type StandardSchema } from "./handler/input.ts";
import { chatCompletions, type OpenAiInput } from "./handler/routes/openai.ts";
import { type AnthropicInput, messages } from "./handler/routes/anthropic.ts";
import { metrics, type Stats, Totals } from "./handler/metrics.ts";
import { Models, unknownModel } from "./handler/routes/models.ts";
import { messagesOperation } from "./handler/openapi/anthropic.ts";
import { type ApiInfo, openApiDocument } from "./handler/openapi/document.ts";
import {
  chatCompletionOperation,
  modelOperation,
  modelsOperation,
} from "./handler/openapi/openai.ts";
import type { JsonSchema, Operation } from "./handler/openapi/operation.ts";
import { chatPageOperation, docsPageOperation } from "./handler/openapi/pages.ts";
import { healthOperation, metricsOperation, openApiOperation } from "./handler/openapi/service.ts";
import { resumeOperation, stopOperation, streamOperation } from "./handler/openapi/streaming.ts";
import { chatOperation, resumeChatOperation } from "./handler/openapi/ui_message.ts";
import { StreamLimit, type StreamLimits } from "./handler/stream_limit.ts";
import type { BodyLimits } from "./handler/body.ts";
import { errorResponse, jsonResponse } from "./http/response.ts";
import { InvalidInput } from "./handler/schema.ts";
import { checkOptions, type ResumeOptions, type SseOptions } from "./http/options.ts";
import type { OpenStream, StreamObserver } from "./http/replay_log.ts";
import { stop } from "./http/resume.ts";
import {
  answerStream,
  definedOf,
  type StreamRoute,
  type StreamService,
} from "./handler/routes/stream_route.ts";
import { queryInput, streaming, type StreamingInput } from "./handler/routes/streaming.ts";
import { uiChat, type UiMessageInput } from "./handler/routes/ui_message.ts";
import { chatPage } from "./handler/pages/chat.ts";
import { docsPage } from "./handler/pages/docs.ts";
import type { Page } from "./handler/pages/page.ts";
import type { Source } from "./pipeline/pump.ts";
import type { ReplayLog } from "./http/replay_log.ts";
import { MemoryLog } from "./replay/memory.ts";

/** Limits of a handler. */
export interface HandlerLimits extends BodyLimits, StreamLimits {}

/**
 * What a source gets as `input`: always `query`, and under the chat routes the conversation and the
 * other fields of the request, in the terms of the chat completions API. `api` names the route's
 * API, and `body` is the request's body in that API's own shape.
 */
export type ChatInput = StreamingInput | OpenAiInput | AnthropicInput | UiMessageInput;

/** Options of {@linkcode createHandler}. */
export interface HandlerOptions<
  Schema extends StandardSchema = StandardSchema<unknown, ChatInput>,
> extends Omit<SseOptions, "format" | "log" | "streamId" | "owner" | "chatId">, AccessOptions {
  /** The source, which responds to each checked input. @default {the first of `models`} */
  source?: Source<OutputOf<Schema>>;
  /**
   * The schema of a request's body, from any library that implements Standard Schema, such as zod,
   * valibot and arktype. If the library offers it as JSON Schema, `/openapi.json` shows it. Under
   * the chat routes it checks what they would give the source: `query`, `messages` and the rest.
   *
   * @default {`{ query: string }` and the fields of a chat, further ones let through}
   */
  input?: Schema;
  /** What `/openapi.json` says of your API. */
  info?: ApiInfo;
  /**
   * The sources under `/v1`, by the model's name; other names are 404 there. `/streaming` and
   * `/api/chat` use `source`. @default {every name uses `source`}
   */
  models?: Readonly<Record<string, Source<OutputOf<Schema>>>>;
  /** The model name that `GET /v1/models` lists where there are no `models`. @default {"spillway"} */
  model?: string;
  /** The path under which the routes begin, as `/api`. @default {the root} */
  basePath?: string;
  limits?: HandlerLimits;
  /**
   * The log that keeps event streams so that clients can resume them; `false` is none.
   * @default {a MemoryLog}
   */
  log?: ReplayLog | false;
  /** Whether `GET /` is a page to chat with the source. @default {true} */
  chat?: boolean;
  /**
   * Whether `GET /docs` is a page about `/openapi.json` where every route can be tried.
   * @default {true}
   */
  docs?: boolean;
}

/** The handler that {@linkcode createHandler} makes. Its methods are bound. */
export interface Handler {
  /** Handles a request. Never rejects. `info` is the runtime's second argument, if it has one. */
  readonly fetch: (request: Request, info?: unknown) => Promise<Response>;
  /**
   * Takes no new streams, waits for the live ones, and ends those that are left after `timeoutMs`
   * (0 or more, 25 000 by default) with `failed` and `shutting_down`. Meanwhile clients may still
   * resume streams and stop generations. Resolves when none is left and the log has written
   * everything.
   */
  readonly drain: (options?: { timeoutMs?: number }) => Promise<void>;
  /** Returns what is open in this process, and what this handler has done. */
  readonly stats: () => Stats;
}

/** What a route gets of a request. */
interface Call {
  readonly request: Request;
  /** The path segment in place of the route's parameter. */
  readonly name: string;
  /** The owner of the request, if `authorize` is set. */
  readonly owner: string | undefined;
}

interface Route {
  readonly answer: (call: Call) => Response | Promise<Response>;
  readonly operation: Operation;
}

/**
 * The formats whose error objects the clients of a path expect: the first prefix that fits. Under
 * other paths errors are problem objects.
 */
const ERROR_FORMATS: readonly (readonly [prefix: string, format: Format])[] = [
  ["/v1/messages", anthropicFormat],
  ["/v1/", openaiFormat],
];

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
export function createHandler<Schema extends StandardSchema = StandardSchema<unknown, ChatInput>>(
  options: HandlerOptions<Schema>,
): Handler {
  check(options);
  const { basePath = "", limits = {} } = options;
  const live = new Set<OpenStream>();
  const totals = new Totals();
  let state: "serving" | "draining" = "serving";
  /** Streams that are open, and requests that are about to open one. */
  const begun = new StreamLimit(limits);
  /**
   * Clients that resume or join a stream. Counted separately, so that a full server still takes
   * back those that lost their connection.
   */
  const joined = new StreamLimit(limits);
  const drains = new Set<() => void>();
  const report = (error: unknown) => reportTo(options.onError, error);

  const log: ReplayLog | undefined = options.log === undefined
    ? new MemoryLog()
    : options.log || undefined;
  const { log: _, ...common } = options;
  const streamOptions: SseOptions = {
    ...common,
    ...log === undefined ? {} : { log },
    onClose: (report) => {
      totals.add(report);
      options.onClose?.(report);
    },
  };

  const sources = new Map(Object.entries(options.models ?? {}));
  const source = options.source ?? sources.values().next().value;
  const models = new Models(sources.size > 0 ? [...sources.keys()] : [options.model ?? "spillway"]);
  const service: StreamService = {
    options: streamOptions,
    limits,
    schema: options.input,
    fallback: queryInput,
    sourceOf(model) {
      const named = model === undefined || sources.size === 0 ? source : sources.get(model);
      if (named === undefined) throw unknownModel(model!);
      return named as Source<never>;
    },
  };

  function mayStart(): void {
    if (state === "draining") throw new StreamError("shutting_down", { retryAfter: 1 });
  }

  function gone(stream: OpenStream): void {
    live.delete(stream);
    if (live.size === 0) { for (const drained of drains) drained(); }
  }

  /** Opens a stream, or joins one, if the limits allow another one for `owner`. */
  async function admit(
    owner: string | undefined,
    open: (observer: StreamObserver) => Promise<Response>,
    joins: boolean,
  ): Promise<Response> {
    const places = joins ? joined : begun;
    if (!joins) mayStart();
    const free = places.take(owner);
    let opened = false;
    try {
      return await open({
        onOpen: (stream) => {
          // Reading the body took time, and a drain may have begun.
          if (!joins) mayStart();
          opened = true;
          live.add(stream);
        },
        onEnd: (stream) => {
          free();
          gone(stream);
        },
      });
    } finally {
      if (!opened) free();
    }
  }

  function streams<Body>(route: StreamRoute<Body>, operation: Operation): Route {
    return {
      answer: ({ request, owner }) => {
        const open = (observer: StreamObserver) =>
          answerStream(request, route, service, observer, owner);
        // A client that resumes starts no generation.
        return admit(owner, open, request.headers.has("last-event-id"));
      },
      operation,
    };
  }

  async function resumes(
    { request, owner }: Call,
    which: Pick<ResumeOptions, "streamId" | "chatId">,
  ): Promise<Response> {
    // A chat's page asks each time that it loads, and having nothing to resume is no error.
    if (log === undefined && which.chatId !== undefined) return nothing();
    if (log === undefined) throw new StreamError("not_found");
    const { heartbeatMs, stallMs, headers } = options;
    const asked = { ...which, ...definedOf({ owner, heartbeatMs, stallMs, headers }) };
    return await admit(owner, (observer) => log.resume(request, asked, observer), true);
  }

  async function stops({ name: streamId, owner }: Call): Promise<Response> {
    const stopped = log !== undefined && await stop({ log, streamId, ...definedOf({ owner }) });
    if (!stopped) throw new StreamError("not_found");
    return nothing();
  }

  function nothing(): Response {
    return new Response(null, { status: 204, headers: new Headers(options.headers) });
  }

  const { chat = true, docs = true } = options;
  const page = (page: Page, operation: Operation) => ({
    GET: { answer: ({ request }: Call) => page(request), operation },
  });

  /**
   * The routes by path; `{name}` stands for one segment of it or, at its end, for the rest of the
   * path.
   */
  const routes: Record<string, Record<string, Route>> = {
    "/streaming": { POST: streams(streaming, streamOperation) },
    "/streaming/{id}": {
      GET: { answer: (call) => resumes(call, { streamId: call.name }), operation: resumeOperation },
      DELETE: { answer: stops, operation: stopOperation },
    },
    "/v1/chat/completions": { POST: streams(chatCompletions, chatCompletionOperation) },
    "/v1/messages": { POST: streams(messages, messagesOperation) },
    "/v1/models": { GET: { answer: () => models.list(), operation: modelsOperation } },
    "/v1/models/{model}": {
      GET: { answer: ({ name }) => models.retrieve(name), operation: modelOperation },
    },
    "/api/chat": { POST: streams(uiChat, chatOperation) },
    "/api/chat/{id}/stream": {
      GET: {
        answer: (call) => resumes(call, { chatId: call.name }),
        operation: resumeChatOperation,
      },
    },
    "/health": { GET: { answer: health, operation: healthOperation } },
    "/metrics": {
      GET: {
        answer: ({ request }) => metrics(request, totals.stats()),
        operation: metricsOperation,
      },
    },
    "/openapi.json": {
      GET: { answer: () => jsonResponse(document ??= describe()), operation: openApiOperation },
    },
    ...chat ? { "/": page(chatPage({ docs }), chatPageOperation) } : {},
    ...docs ? { "/docs": page(docsPage, docsPageOperation) } : {},
  };
  let document: JsonSchema | undefined;

  function describe(): JsonSchema {
    const { info = {}, input: schema = queryInput } = options;
    const authorize = options.authorize !== undefined;
    const resumable = log !== undefined;
    return openApiDocument(routes, { info, basePath, schema, authorize, resumable, report });
  }

  function health(): Response {
    if (state === "draining") return jsonResponse({ status: "draining" }, 503);
    return jsonResponse({ status: log?.health?.() ?? "ok" });
  }

  const templates = Object.keys(routes).filter((path) => path.includes("{"))
    .map((path) => [templateOf(path), routes[path]!] as const);

  /** Finds the methods of a path, and the value of its parameter. */
  function find(path: string): [methods: Record<string, Route> | undefined, name: string] {
    const methods = own(routes, path);
    if (methods !== undefined && !path.includes("{")) return [methods, ""];
    for (const [template, methods] of templates) {
      const found = template.exec(path);
      if (found) return [methods, decoded(found[1]!)];
    }
    return [undefined, ""];
  }

  async function answer(request: Request, url: URL, path: string, errorBody?: Format["errorBody"]) {
    checkAccess(request, url, options);
    const [methods, name] = find(path);
    if (methods === undefined) throw new StreamError("not_found");
    const allow = [...Object.keys(methods), ..."GET" in methods ? ["HEAD"] : [], "OPTIONS"];
    if (request.method === "OPTIONS") return preflight(request, allow.join(", "));
    const route = own(methods, request.method === "HEAD" ? "GET" : request.method);
    if (route !== undefined) {
      const owner = route.operation.anonymous ? undefined : await ownerOf(request, options);
      return await route.answer({ request, name, owner });
    }
    const headers = new Headers(options.headers);
    headers.set("allow", allow.join(", "));
    return errorResponse(new StreamError("method_not_allowed"), headers, { errorBody });
  }

  async function fetch(request: Request, info?: unknown): Promise<Response> {
    const url = new URL(request.url);
    const path = url.pathname.startsWith(basePath) ? url.pathname.slice(basePath.length) : "";
    const errorBody = ERROR_FORMATS.find(([prefix]) => path.startsWith(prefix))?.[1].errorBody;
    let response: Response;
    try {
      neverIdle(request, info);
      response = await answer(request, url, path, errorBody);
    } catch (error) {
      if (!(error instanceof StreamError)) report(error);
      const faults = error instanceof InvalidInput ? error.faults : undefined;
      response = errorResponse(error, options.headers, { errors: faults, errorBody });
    }
    if (request.method === "HEAD") {
      const { status, headers } = response;
      response = new Response(null, { status, headers });
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
    await log?.flush?.();
  }

  return { fetch, drain, stats: () => totals.stats() };
}

/** A property of the table's own: a path or a method may be called `constructor`. */
function own<T>(table: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** A pattern for a path with one parameter: one segment or, at its end, the rest of the path. */
function templateOf(path: string): RegExp {
  const pattern = path.replaceAll(".", "\\.").replace(/\{\w+\}$/, "(.+)").replace(
    /\{\w+\}/,
    "([^/]+)",
  );
  return new RegExp(`^${pattern}$`);
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch (cause) {
    throw new StreamError("bad_request", { detail: "The path is not valid UTF-8", cause });
  }
}

/**
 * Turns off Bun's idle timeout for a request. Otherwise Bun cuts a connection that stays silent for
 * 8 to 12 s, even while a model thinks.
 */
function neverIdle(request: Request, info: unknown): void {
  if (typeof info !== "object" || info === null || !("timeout" in info)) return;
  if (typeof info.timeout === "function") info.timeout(request, 0);
}

function isString(value: unknown): value is string {
  return typeof value === "string";
}

function checkSource(name: string, source: unknown): void {
  if (source === undefined || source === null) {
    throw new TypeError(`Cannot create the handler: ${name} is missing`);
  }
  if (!["function", "object", "string"].includes(typeof source)) {
    throw new TypeError(`Cannot create the handler: ${name} is a ${typeof source}`);
  }
}

function check<Schema extends StandardSchema>(options: HandlerOptions<Schema>): void {
  const { log, ...common } = options;
  checkOptions(common, log !== false);
  if (log !== undefined && log !== false && typeof log?.resume !== "function") {
    throw new TypeError("Cannot create the handler: log is no replay log");
  }
  if (options.authorize !== undefined && typeof options.authorize !== "function") {
    throw new TypeError("Cannot create the handler: authorize is not a function");
  }
  const { source, models, model, input, info = {} } = options;
  const { basePath = "", limits = {} } = options;
  if (models === undefined || source !== undefined) checkSource("source", source);
  if (models !== undefined) {
    // An array has indices for names.
    if (typeof models !== "object" || models === null || Array.isArray(models)) {
      throw new TypeError("Cannot create the handler: models is not an object of sources");
    }
    const entries = Object.entries(models);
    if (entries.length === 0) throw new TypeError("Cannot create the handler: models is empty");
    for (const [name, source] of entries) checkSource(`models[${JSON.stringify(name)}]`, source);
  }
  if (model !== undefined && (typeof model !== "string" || model === "")) {
    throw new TypeError("Cannot create the handler: model is not a name");
  }
  if (input !== undefined && !isStandardSchema(input)) {
    throw new TypeError("Cannot create the handler: input is no Standard Schema of version 1");
  }
  for (const name of ["title", "version", "description"] as const) {
    if (info[name] === undefined || isString(info[name])) continue;
    throw new TypeError(`Cannot create the handler: info.${name} is not a string`);
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
  for (const name of ["chat", "docs"] as const) {
    if (options[name] === undefined || typeof options[name] === "boolean") continue;
    throw new TypeError(`Cannot create the handler: ${name} is neither true nor false`);
  }
  for (const [name, value] of Object.entries(limits)) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new RangeError(`Cannot create the handler: limits.${name} is not a positive integer`);
    }
  }
}
