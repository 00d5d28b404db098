/**
 * `createHandler()`: the entire server as one `fetch` function. Its source is an option, and it reads
 * no environment. Pages and document are options as well, so that a bundle without them does not hold
 * them; `full_handler.ts` has the same function with all of them.
 *
 * @module
 */
import { report as reportTo, StreamError } from "./error.ts";
import { checkAccess, grantAccess, ownerOf, preflight } from "./handler/access.ts";
import { Admission } from "./handler/admission.ts";
import type { OutputOf, StandardSchema } from "./handler/input.ts";
import { CountingBodyReader, HandlerMetrics, type Stats } from "./handler/metrics.ts";
import { reportOf } from "./handler/metrics_text.ts";
import {
  type ChatInput,
  checkHandlerOptions,
  type HandlerOptions,
  type InputFrom,
} from "./handler/options.ts";
import { allowOf, MethodNotAllowed, pathOf, routeOf, Router } from "./handler/router.ts";
import { agUiApi } from "./handler/routes/ag_ui.ts";
import { anthropicApi } from "./handler/routes/anthropic.ts";
import { Models, unknownModel } from "./handler/routes/models.ts";
import { openaiApi } from "./handler/routes/openai.ts";
import { responsesApi } from "./handler/routes/responses.ts";
import type { Api, RouteContext } from "./handler/routes/route.ts";
import { serviceApi } from "./handler/routes/service.ts";
import { queryInput, streamingApi } from "./handler/routes/streaming.ts";
import { uiMessageApi } from "./handler/routes/ui_message.ts";
import { InvalidInput } from "./handler/schema.ts";
import { Streams } from "./handler/streams.ts";
import { TOGETHER, type Together, type TogetherOptions } from "./handler/together.ts";
import { type ClosableRequest, CLOSE_SOON } from "./http/connection.ts";
import type { CheckedOptions } from "./http/options.ts";
import type { ReplayLog } from "./http/replay_log.ts";
import { checkRequest, REJECT } from "./http/request.ts";
import { errorResponse } from "./http/response.ts";
import { urlOf } from "./http/url.ts";
import type { Source } from "./pipeline/pump.ts";
import { definedOf, hasMethod } from "./values.ts";
import { checkOptionNames } from "./option_names.ts";

export type { AccessOptions, Authorization } from "./handler/access.ts";
export type { BodyLimits } from "./handler/body.ts";
export type { OutputOf, StandardIssue, StandardResult, StandardSchema } from "./handler/input.ts";
export type { Stats } from "./handler/metrics.ts";
export type { ActiveCounts } from "./counters.ts";
export type {
  LogReaderEnd,
  LogRejection,
  ProcessTotals,
  ResumeResult,
  UpstreamErrorKind,
} from "./totals.ts";
export type { LogUsage } from "./http/replay_log.ts";
export type { ApiInfo } from "./handler/openapi/document.ts";
export { openApi } from "./handler/openapi/open_api.ts";
export type {
  ChatInput,
  ChatRouteInput,
  HandlerLimits,
  HandlerOptions,
  InputFrom,
  SourceInput,
} from "./handler/options.ts";
export { chatPage, type ChatPageInput, type ChatPageRequest } from "./handler/pages/chat.ts";
export { referencePage } from "./handler/pages/docs.ts";
export type { Api, Call, Route, RouteContext } from "./handler/routes/route.ts";
export type { ModelEntry } from "./handler/routes/models.ts";
export type { AgUiInput, AgUiRequest, AgUiTool } from "./handler/routes/ag_ui.ts";
export type { AgUiContext, AgUiMessage } from "./handler/routes/ag_ui_messages.ts";
export type {
  AnthropicInput,
  AnthropicTool,
  CountTokensRequest,
  MessagesRequest,
} from "./handler/routes/anthropic_request.ts";
export type { ContentBlock } from "./handler/routes/anthropic_messages.ts";
export type { CountTokens, CountTokensContext } from "./handler/routes/count_tokens.ts";
export type { ChatCompletionRequest, OpenAIInput } from "./handler/routes/openai.ts";
export type { ResponsesInput, ResponsesRequest } from "./handler/routes/responses_request.ts";
export type { ResponsesItem } from "./handler/routes/responses_messages.ts";
export type { QueryInput, StreamingInput } from "./handler/routes/streaming.ts";
export type { UIChatRequest, UIMessage, UIMessageInput } from "./handler/routes/ui_message.ts";
export type { UIPart } from "./handler/routes/ui_message_parts.ts";
export type { StreamLimits } from "./handler/stream_limit.ts";
export type { FormatName, SseOptions } from "./http/options.ts";
export type { HeaderFields } from "./http/response.ts";
export type { GenerationOptions } from "./pipeline/generation.ts";

/** The APIs that every handler serves. */
const APIS: readonly Api[] = [
  streamingApi,
  openaiApi,
  responsesApi,
  anthropicApi,
  uiMessageApi,
  agUiApi,
  serviceApi,
];

/** What Claude Code asks with HEAD, to see whether anybody is there. */
const PROBES: readonly string[] = ["/", "/api/hello"];

/** The handler that {@linkcode createHandler} makes. Its methods are bound. */
export interface Handler {
  /** Handles a request. Never rejects. `info` is the runtime's second argument, if it has one. */
  readonly fetch: (request: Request, info?: unknown) => Promise<Response>;
  /**
   * Takes no new streams, waits for the live ones, and ends those that are left after `timeoutMs`
   * (0 or more, 25 000 by default) with `failed` and `shutting_down`. Meanwhile clients may still
   * resume streams and stop generations. Resolves when none is left and the log has written
   * everything. With `delayMs` (0 or more, 0 by default) all of this begins that much later. Until then
   * only `GET /health` says that the server drains, so that balancers can notice.
   */
  readonly drain: (options?: { timeoutMs?: number; delayMs?: number }) => Promise<void>;
  /** Returns what is open in this process, and what this handler has done. */
  readonly stats: () => Stats;
}

/**
 * The server as a `fetch` function, for `Bun.serve`, `Deno.serve` and every runtime that has one.
 * Without `pages` and `document` it serves neither.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { createHandler } from "spillway/handler";
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
 * @throws {TypeError} If an option is unknown or of the wrong type.
 */
export function createHandler<Schema extends StandardSchema = StandardSchema<unknown, ChatInput>>(
  options: HandlerOptions<Schema, OutputOf<Schema>> & { inputFrom: InputFrom<OutputOf<Schema>> },
): Handler;
/**
 * The server as a `fetch` function. Its sources take what the schema makes and, because there is no
 * `inputFrom`, what the chat routes have read.
 *
 * @throws {RangeError} If an option is out of its bounds.
 * @throws {TypeError} If an option is unknown or of the wrong type.
 */
export function createHandler<Schema extends StandardSchema = StandardSchema<unknown, ChatInput>>(
  options: HandlerOptions<Schema>,
): Handler;
export function createHandler<Schema extends StandardSchema, Input>(
  options: HandlerOptions<Schema, Input>,
): Handler {
  const common = checkHandlerOptions(options);
  const { log } = common;
  const { basePath = "", pages = [], document } = options;
  const apis = [...APIS, ...document ? [document] : [], ...pages];
  const router = new Router(apis);
  const admission = new Admission(options.limits ?? {}, options.clock);
  const metrics = new HandlerMetrics(
    [...new Set([...modelNames(options), defaultModel(options)])],
    () => log?.usage?.(),
  );
  const report = (error: unknown) => reportTo(options.onError, error);
  const { [TOGETHER]: together } = options as TogetherOptions;
  const context = contextOf({ options, common, apis, log, admission, metrics, together, report });

  async function answer(request: Request, url: URL, path: string): Promise<Response> {
    checkAccess(request, url, options);
    if (request.method === "HEAD" && PROBES.includes(path) && !router.has(path)) {
      return new Response(null);
    }
    const found = router.find(path);
    if (request.method === "OPTIONS") return preflight(request, allowOf(found), options);
    const route = routeOf(found, request.method);
    const owner = route.anonymous ? undefined : await ownerOf(request, options);
    return await route.answer({ request, name: found.name, owner }, context);
  }

  /** The response to a request that failed before its response headers: the only place for it. */
  function failed(error: unknown, request: unknown, path = ""): Response {
    metrics.rejected(error, request);
    if (!(error instanceof StreamError)) report(error);
    const headers = new Headers(options.headers);
    if (error instanceof MethodNotAllowed) headers.set("allow", error.allow);
    const errors = error instanceof InvalidInput ? error.faults : undefined;
    return errorResponse(error, headers, router.errorFormatOf(path), errors);
  }

  async function fetch(request: Request, info?: unknown): Promise<Response> {
    try {
      checkRequest("Cannot handle", request);
    } catch (error) {
      return endOnNode(reject(error, request), info);
    }
    let path = "";
    try {
      const url = urlOf(request);
      path = pathOf(url, basePath);
      neverIdle(request, info);
      return finished(request, await answer(request, url, path));
    } catch (error) {
      return finished(request, failed(error, request, path));
    }
  }

  /** The response to what makes no `Request`. */
  function reject(error: unknown, request: unknown): Response {
    const response = failed(error, request);
    metrics.responded(response);
    return response;
  }

  /** Adds to a response what each of them has. Throws if a route's own response cannot have it. */
  function finished(request: Request, response: Response): Response {
    let sent = response;
    if (request.method === "HEAD") {
      response.body?.cancel().catch(() => {}); // It may have ended.
      const { status, headers } = response;
      sent = new Response(null, { status, headers });
    }
    const granted = grantAccess(request, sent, options);
    metrics.responded(response);
    return granted;
  }

  async function drain(options: { timeoutMs?: number; delayMs?: number } = {}): Promise<void> {
    checkOptionNames("Cannot drain", options, ["timeoutMs", "delayMs"]);
    const { timeoutMs = 25_000, delayMs = 0 } = options;
    for (const [name, ms] of Object.entries({ timeoutMs, delayMs })) {
      if (ms >= 0 && ms < 2 ** 31) continue;
      throw new RangeError(`Cannot drain: ${name} is ${ms}, not 0 or more`);
    }
    await admission.drain(timeoutMs, delayMs);
    await log?.flush?.();
  }

  return { fetch: Object.assign(fetch, { [REJECT]: reject }), drain, stats: context.stats };
}

/** The names of the models that a handler serves; without names of the operator's, ours. */
function modelNames(
  { models = {}, model = "spillway" }: Pick<HandlerOptions, "model"> & { models?: object },
): string[] {
  const names = Object.keys(models);
  return names.length > 0 ? names : [model];
}

/** The name by which streams of no named model are counted. */
function defaultModel(
  options: Pick<HandlerOptions, "model"> & { source?: unknown; models?: object },
): string {
  return options.source === undefined ? modelNames(options)[0]! : options.model ?? "spillway";
}

/** What a handler is made of. */
interface Parts<Schema extends StandardSchema, Input> {
  readonly options: HandlerOptions<Schema, Input>;
  /** The options of each stream. */
  readonly common: CheckedOptions;
  readonly apis: readonly Api[];
  readonly log: ReplayLog | undefined;
  readonly admission: Admission;
  readonly metrics: HandlerMetrics;
  readonly together: Together | undefined;
  readonly report: (error: unknown) => void;
}

/** What the routes of a handler get. */
function contextOf<Schema extends StandardSchema, Input>(
  { options, common, apis, log, admission, metrics, together, report }: Parts<Schema, Input>,
): RouteContext {
  const { basePath = "", input = queryInput, builtInTools = "reject" } = options;
  const sources = new Map(Object.entries(options.models ?? {}));
  const source = options.source ?? sources.values().next().value;
  const names = modelNames(options);
  const streams = new Streams({
    options: common,
    formats: apis.flatMap(({ formats = [] }) => formats),
    admission,
    bodies: new CountingBodyReader(metrics, options.limits, options.clock),
    schema: input,
    inputFrom: options.inputFrom,
    settings: { builtInTools },
    rejected: (error, request) => metrics.rejected(error, request),
    ended(report, request, asked) {
      // A name that is not served comes from a stranger: no count may have it as a label.
      const model = asked !== undefined && sources.has(asked) ? asked : defaultModel(options);
      metrics.ended(report, { request, model });
      return options.onClose?.(report);
    },
    sourceOf(model) {
      const named = model === undefined || sources.size === 0 ? source : sources.get(model);
      if (named === undefined) throw unknownModel(model!);
      return named as Source<never>;
    },
  });
  const health = () => admission.isLeaving ? "draining" : log?.health?.() ?? "ok";
  const counted = () => reportOf(metrics, health());
  together?.join(counted);
  return {
    routes: apis.flatMap(({ routes }) => routes),
    basePath,
    input,
    source,
    readsChats: options.input === undefined || options.inputFrom !== undefined,
    authorize: options.authorize !== undefined,
    resumable: log !== undefined,
    models: new Models(names),
    counted: together === undefined ? counted : () => together.report(),
    stream: (call, route) => streams.stream(call, route),
    read: (call, route) => streams.read(call, route),
    countTokens: options.countTokens,
    resume: (call, which) => streams.resume(call, which),
    resumeAfter: (call, which) => streams.resume(call, definedOf(which)),
    stop: (call, streamId) => streams.stop(call, streamId),
    look: (call, streamId) => streams.look(call, streamId),
    forget: (call, streamId) => streams.forget(call, streamId),
    stats: () => metrics.stats(),
    health: () => together === undefined ? health() : together.health(health()),
    report,
  };
}

/**
 * Ends Node's own response, which `createServer(handler.fetch)` hands in as `info`: without it the
 * client would wait for ever.
 */
function endOnNode(response: Response, info: unknown): Response {
  if (hasMethod(info, "writeHead") && hasMethod(info, "end")) {
    info.writeHead(response.status);
    info.end();
  }
  return response;
}

/**
 * Turns off Bun's idle timeout for a request. Otherwise Bun cuts a connection that stays silent for
 * 8 to 12 s, even while a model thinks. A client that takes nothing and was dropped gets it back, of
 * 1 s: nothing else frees its socket. That is the next tick of the one clock that Bun 1.4 has for all
 * timeouts, which ticks every 4 s. To ask for it sooner would cut off clients that have not stalled.
 */
function neverIdle(request: Request, info: unknown): void {
  if (!hasMethod(info, "timeout")) return;
  info.timeout(request, 0);
  (request as ClosableRequest)[CLOSE_SOON] = () => void info.timeout(request, 1);
}
