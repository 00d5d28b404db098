/**
 * The options of `createHandler`, and their checks. Separate from the handler so that every option is
 * checked once, when the handler is made, and in one place.
 */
import { type CheckedOptions, checkOptions, type SseOptions } from "../http/options.ts";
import type { ReplayLog } from "../http/replay_log.ts";
import { MemoryLog } from "../replay/memory.ts";
import { checkOptionNames } from "../option_names.ts";
import type { Source } from "../pipeline/pump.ts";
import { type AccessOptions, isOrigin } from "./access.ts";
import { BODY_LIMITS, type BodyLimits } from "./body.ts";
import { isStandardSchema, type OutputOf, type StandardSchema } from "./input.ts";
import type { AgUiInput } from "./routes/ag_ui.ts";
import type { AnthropicInput } from "./routes/anthropic_request.ts";
import type { ChatPageInput } from "./pages/chat.ts";
import type { CountTokens } from "./routes/count_tokens.ts";
import type { OpenAIInput } from "./routes/openai.ts";
import type { Api } from "./routes/route.ts";
import type { ResponsesInput } from "./routes/responses_request.ts";
import type { StreamingInput } from "./routes/streaming.ts";
import type { UIMessageInput } from "./routes/ui_message.ts";
import type { StreamLimits } from "./stream_limit.ts";
import { isObject } from "../values.ts";

/** Limits of a handler. */
export interface HandlerLimits extends BodyLimits, StreamLimits {}

/**
 * What the chat routes have read: the conversation and the other fields of the request, in the terms
 * of the chat completions API, and `query`, the text of the user's last message. `api` names the
 * route's API, and `body` is the request's body in that API's own shape.
 */
export type ChatRouteInput =
  | OpenAIInput
  | ResponsesInput
  | AnthropicInput
  | UIMessageInput
  | AgUiInput
  | ChatPageInput;

/**
 * What a source gets as `input` without a schema: always `query`, and under the chat routes all of
 * {@linkcode ChatRouteInput}.
 */
export type ChatInput = StreamingInput | ChatRouteInput;

/**
 * What the sources of a handler without `inputFrom` take. A condition, so that a source whose own type
 * is inferred, as `openai()`, is not taken for one of the chat routes alone.
 */
export type SourceInput<Schema extends StandardSchema> = Schema extends StandardSchema
  ? OutputOf<Schema> | ChatRouteInput
  : never;

/** Makes of what a chat route has read the input that a source wants, at once or later. */
export type InputFrom<Input> = (chat: ChatRouteInput) => Input | Promise<Input>;

/**
 * Options of `createHandler`. `Input` is what its sources take: what the schema makes and, without
 * `inputFrom`, what the chat routes have read.
 */
export interface HandlerOptions<
  Schema extends StandardSchema = StandardSchema<unknown, ChatInput>,
  Input = SourceInput<Schema>,
> extends Omit<SseOptions, "format" | "log" | "streamId" | "owner" | "chatId">, AccessOptions {
  /** The source, which responds to each input. @default {the first of `models`} */
  source?: Source<Input>;
  /**
   * The schema of a body of `POST /streaming`, from any library that implements Standard Schema,
   * such as zod, valibot and arktype. If the library offers it as JSON Schema, the document shows
   * it. The chat routes do not ask it; see `inputFrom`.
   *
   * @default {`{ query: string }` and the fields of a chat, further ones let through}
   */
  input?: Schema;
  /**
   * Makes the source's input under the chat routes, the chat page's as well, for a source that wants
   * the shape of `input`: `({ query }) => ({ question: query })`. A `StreamError` that it throws is
   * the response. @default {the source gets what the route has read}
   */
  inputFrom?: InputFrom<OutputOf<Schema>>;
  /**
   * Counts the tokens of a request of `POST /v1/messages/count_tokens`.
   * @default {an estimate: a token for each four bytes of text}
   */
  countTokens?: CountTokens;
  /**
   * What `POST /v1/messages` does with what only Anthropic's own servers can run: tools such as
   * `web_search_20250305`, `mcp_servers` and `container`. `reject` responds 400 that names it, `drop`
   * leaves it out. @default {"reject"}
   */
  builtInTools?: "reject" | "drop";
  /**
   * The sources under `/v1` and of the chat page, by the model's name; other names are 404 there. All
   * other routes use `source`. @default {every name uses `source`}
   */
  models?: Readonly<Record<string, Source<Input>>>;
  /** The model name that `GET /v1/models` lists where there are no `models`. @default {"spillway"} */
  model?: string;
  /** The path under which the routes begin, as `/api`. @default {the root} */
  basePath?: string;
  /** The limits of bodies and of open streams, each an integer of 1 or more. */
  limits?: HandlerLimits;
  /**
   * The log that keeps event streams so that clients can resume them; `false` is none.
   * @default {a MemoryLog}
   */
  log?: ReplayLog | false;
  /** The pages for people: what `chatPage()` and `referencePage()` return. @default {none} */
  pages?: readonly Api[];
  /** The description of the API: what `openApi()` returns. @default {none} */
  document?: Api;
}

/** The options that a handler has in common with `sse`: it passes them on to each stream. */
const STREAM_OPTIONS: Record<StreamOption, true> = {
  headers: true,
  heartbeatMs: true,
  commitAfterMs: true,
  stallMs: true,
  highWaterMark: true,
  maxBufferedBytes: true,
  log: true,
  disconnect: true,
  onClose: true,
  onError: true,
  clock: true,
};
type SourceOption = "source" | "models" | "model";
type StreamOption = keyof SseOptions & keyof HandlerOptions;

/** The options that only a handler has. */
const HANDLER_OPTIONS: Record<Exclude<keyof HandlerOptions, StreamOption>, true> = {
  source: true,
  input: true,
  inputFrom: true,
  countTokens: true,
  builtInTools: true,
  models: true,
  model: true,
  basePath: true,
  limits: true,
  authorize: true,
  cors: true,
  corsCredentials: true,
  allowedHosts: true,
  pages: true,
  document: true,
};
const LIMITS: readonly string[] = [
  "maxStreams",
  "maxStreamsPerOwner",
  ...Object.keys(BODY_LIMITS),
];

/** The name of every option of a handler. */
export const HANDLER_OPTION_NAMES: readonly string[] = [
  ...Object.keys(STREAM_OPTIONS),
  ...Object.keys(HANDLER_OPTIONS),
];

/** Options of a handler whose source takes whatever its schema makes. */
type AnyOptions = HandlerOptions<StandardSchema>;

/** The options that a handler passes on to each stream, except its log. */
function streamOptionsOf(
  options: Omit<AnyOptions, "source" | "models">,
): Omit<SseOptions, "log"> {
  const { log: _, ...common } = options;
  return Object.fromEntries(
    Object.entries(common).filter(([name, value]) =>
      Object.hasOwn(STREAM_OPTIONS, name) && value !== undefined
    ),
  );
}

/**
 * Checks every option of a handler, and returns those of its streams.
 *
 * @throws {RangeError} If an option is out of its bounds; the message names it.
 * @throws {TypeError} If an option is unknown or of the wrong type.
 */
export function checkHandlerOptions<Schema extends StandardSchema, Input>(
  options: HandlerOptions<Schema, Input>,
): CheckedOptions {
  checkOptionNames(ACTION, options, HANDLER_OPTION_NAMES);
  checkSources(options);
  checkAccessOptions(options);
  checkRoutes(options);
  const { log, input, limits = {} } = options;
  if (log !== undefined && log !== false && typeof log?.resume !== "function") {
    throw new TypeError(`${ACTION}: log is no replay log`);
  }
  const common = checkOptions({
    ...streamOptionsOf(options),
    ...log === false ? {} : { log: log ?? new MemoryLog() },
  });
  if (input !== undefined && !isStandardSchema(input)) {
    throw new TypeError(`${ACTION}: input is no Standard Schema of version 1`);
  }
  checkMaps(options);
  checkLimits(limits);
  return common;
}

function checkMaps(
  { inputFrom, countTokens, builtInTools = "reject" }: {
    readonly inputFrom?: unknown;
    readonly countTokens?: unknown;
    readonly builtInTools?: unknown;
  },
): void {
  for (const [name, value] of Object.entries({ inputFrom, countTokens })) {
    if (value === undefined || typeof value === "function") continue;
    throw new TypeError(`${ACTION}: ${name} is not a function`);
  }
  if (builtInTools !== "reject" && builtInTools !== "drop") {
    throw new TypeError(`${ACTION}: builtInTools is neither reject nor drop`);
  }
}

function checkLimits(limits: HandlerLimits): void {
  checkOptionNames(`${ACTION}: limits`, limits, LIMITS);
  for (const [name, value] of Object.entries(limits)) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new RangeError(`${ACTION}: limits.${name} is not a positive integer`);
    }
  }
  const { maxBodiesBytes = Infinity } = limits;
  for (const name of ["maxBodyBytes", "maxChatBodyBytes"] as const) {
    if ((limits[name] ?? BODY_LIMITS[name]) <= maxBodiesBytes) continue;
    throw new RangeError(`${ACTION}: limits.maxBodiesBytes is less than limits.${name}`);
  }
}

/** What a check's message begins with. */
export const ACTION = "Cannot create the handler";

function checkSources(
  { source, models, model }: Pick<HandlerOptions<StandardSchema, never>, SourceOption>,
): void {
  if (models === undefined || source !== undefined) checkSource("source", source);
  if (models !== undefined) {
    // An array has indices for names.
    if (!isObject(models) || Array.isArray(models)) {
      throw new TypeError(`${ACTION}: models is not an object of sources`);
    }
    const entries = Object.entries(models);
    if (entries.length === 0) throw new TypeError(`${ACTION}: models is empty`);
    for (const [name, source] of entries) checkSource(`models[${JSON.stringify(name)}]`, source);
  }
  if (model !== undefined && (typeof model !== "string" || model === "")) {
    throw new TypeError(`${ACTION}: model is not a name`);
  }
}

function checkSource(name: string, source: unknown): void {
  if (source === undefined || source === null) {
    throw new TypeError(`${ACTION}: ${name} is missing`);
  }
  if (!["function", "object", "string"].includes(typeof source)) {
    throw new TypeError(`${ACTION}: ${name} is a ${typeof source}`);
  }
}

function checkAccessOptions(options: AccessOptions): void {
  if (options.authorize !== undefined && typeof options.authorize !== "function") {
    throw new TypeError(`${ACTION}: authorize is not a function`);
  }
  for (const name of ["cors", "allowedHosts"] as const) {
    const value: unknown = options[name];
    // A string has an `includes` of its own, which would grant every part of it.
    if (value === undefined || (Array.isArray(value) && value.every(isString))) continue;
    throw new TypeError(`${ACTION}: ${name} is not an array of strings`);
  }
  const { cors = [], corsCredentials = false } = options;
  for (const origin of cors) {
    if (origin === "*" || isOrigin(origin)) continue;
    throw new TypeError(`${ACTION}: cors has ${origin}, not like https://a.com or app://a.com`);
  }
  if (typeof corsCredentials !== "boolean") {
    throw new TypeError(`${ACTION}: corsCredentials is not true or false`);
  }
  if (corsCredentials && (cors.length === 0 || cors.includes("*"))) {
    throw new TypeError(`${ACTION}: corsCredentials needs cors with named origins, not *`);
  }
}

function isString(value: unknown): value is string {
  return typeof value === "string";
}

function checkRoutes(
  { basePath = "", pages = [], document }: Pick<AnyOptions, "basePath" | "pages" | "document">,
): void {
  if (basePath !== "" && !/^(\/[\w.~-]+)+$/.test(basePath)) {
    throw new TypeError(`${ACTION}: basePath ${basePath} is not like /api`);
  }
  if (!Array.isArray(pages) || !pages.every(isApi)) {
    throw new TypeError(`${ACTION}: pages is not an array such as [chatPage()]`);
  }
  if (document !== undefined && !isApi(document)) {
    throw new TypeError(`${ACTION}: document is not what openApi() returns`);
  }
  for (const { needs } of pages) {
    if (needs === undefined || document?.routes.some(({ path }) => path === needs)) continue;
    throw new TypeError(`${ACTION}: a page needs ${needs}, and document is missing`);
  }
}

/** Whether a value has routes. A function that would make one is the likely mistake. */
function isApi(value: unknown): value is Api {
  return isObject(value) && "routes" in value && Array.isArray(value.routes);
}
