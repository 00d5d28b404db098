/**
 * The options of `openai()`, `anthropic()` and `responses()`, which are the same, and their check.
 * Separate from the sources so that whoever looks for an option finds nothing else.
 */
import type { ChatMessage } from "../chat.ts";
import { checkOptionNames } from "../option_names.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { Clock } from "../pipeline/scheduler.ts";
import { isObject } from "../values.ts";
import type { Dialect } from "./dialect.ts";
import { masking } from "./upstream_failure.ts";
import type { UpstreamAddress } from "./upstream_request.ts";

/** Which upstream a source asks, and what it is sent; nothing of it goes to another one. */
export interface ModelUpstream<Input = unknown> {
  /** The base URL of the API, as `https://api.openai.com/v1` or `https://api.anthropic.com`. */
  baseURL: string;
  /** The model's name. */
  model: string;
  /** Sent as a bearer token, or as `x-api-key` by `anthropic()`; to this origin only. */
  apiKey?: string;
  /**
   * Further fields of the request's body: temperature, tools, … They override those of the input. A
   * limit on tokens also overrides the limit under its other name. For an upstream that knows only
   * the newer name: `({ input }) => ({ max_completion_tokens: input.max_tokens })`.
   */
  body?: Record<string, unknown> | ((context: SourceContext<Input>) => Record<string, unknown>);
  /**
   * Fields of the input that are sent to the upstream as well, under the names of the chat completions
   * API; `[]` is none of them. A client's key and the model's name are never sent.
   * @default {those that shape the answer: see `FIELDS`}
   */
  fields?: readonly string[];
  /** Further request headers. */
  headers?: Record<string, string>;
}

/** Options of `openai()`, `anthropic()` and `responses()`. */
export interface ModelOptions<Input = unknown> extends ModelUpstream<Input> {
  /** The conversation. @default {`input.messages`, else `input.query` as the user's message} */
  messages?: (context: SourceContext<Input>) => ChatMessage[];
  /**
   * Upstreams that are asked in this order when the one before has failed before its first item:
   * text, reasoning, a tool call. After that, and where the request itself was rejected, none is.
   * Conversations then reach another provider. @default {none}
   */
  fallback?: readonly ModelUpstream<Input>[];
  /**
   * How long the first item of all upstreams but the last may take in all, in ms, 1 or more; then the
   * last one is asked. @default {60 000}
   */
  fallbackTimeoutMs?: number;
  /**
   * How long the upstream may take to send its response headers, in ms, 1 or more. Some servers send
   * them with the first token. @default {600 000}
   */
  headTimeoutMs?: number;
  /**
   * How long the upstream may be silent between the headers and the first token, in ms, 1 or more.
   * Comments are signs of life. @default {600 000}
   */
  firstTokenTimeoutMs?: number;
  /**
   * How long the upstream may be silent after the first token, in ms, 1 or more. Comments are signs
   * of life. @default {60 000}
   */
  tokenTimeoutMs?: number;
  /**
   * How long everything may take, in ms, 1 or more: retries, fallbacks and the answer, without the
   * time that your client takes. @default {3 600 000}
   */
  answerTimeoutMs?: number;
  /** Bytes of the longest line, 1 or more. @default {1 MiB} */
  maxLineBytes?: number;
  /** Bytes of the largest event, 1 or more. @default {1 MiB} */
  maxEventBytes?: number;
  /**
   * How often each upstream is asked again, 0 to 10: if it cannot be reached, or failed with 408,
   * 409, 425, 429 or 5xx before its first item. @default {0}
   */
  retries?: number;
  /** Time and timers, for tests. @default {the runtime's} */
  clock?: Clock;
}

const UPSTREAM_NAMES: Record<keyof ModelUpstream, true> = {
  baseURL: true,
  model: true,
  apiKey: true,
  body: true,
  fields: true,
  headers: true,
};
const LIMITS = [
  "headTimeoutMs",
  "firstTokenTimeoutMs",
  "tokenTimeoutMs",
  "answerTimeoutMs",
  "fallbackTimeoutMs",
  "maxLineBytes",
  "maxEventBytes",
  "retries",
] as const;

/** The limits, all of them given. */
export type ModelLimits = Required<Pick<ModelOptions, typeof LIMITS[number]>>;

const DEFAULTS: Readonly<ModelLimits> = {
  headTimeoutMs: 600_000,
  firstTokenTimeoutMs: 600_000,
  tokenTimeoutMs: 60_000,
  answerTimeoutMs: 3_600_000,
  fallbackTimeoutMs: 60_000,
  maxLineBytes: 1024 * 1024,
  maxEventBytes: 1024 * 1024,
  retries: 0,
};
const NAMES: Record<keyof ModelOptions, true> = {
  ...UPSTREAM_NAMES,
  messages: true,
  fallback: true,
  headTimeoutMs: true,
  firstTokenTimeoutMs: true,
  tokenTimeoutMs: true,
  answerTimeoutMs: true,
  fallbackTimeoutMs: true,
  maxLineBytes: true,
  maxEventBytes: true,
  retries: true,
  clock: true,
};

/** An upstream whose options were checked. */
export interface CheckedUpstream<Input = unknown> extends UpstreamAddress {
  readonly options: ModelUpstream<Input>;
}

/** Checks the options. Returns the limits, and the upstreams in the order in which they are asked. */
export function checkOptions<Input>(
  options: ModelOptions<Input>,
  dialect: Dialect,
): { limits: ModelLimits; upstreams: CheckedUpstream<Input>[] } {
  checkOptionNames("Cannot create the source", options, Object.keys(NAMES));
  const { fallback = [] } = options;
  if (!Array.isArray(fallback)) {
    throw new TypeError("Cannot create the source: fallback is not an array of upstreams");
  }
  const upstreams = [checkUpstream(options, dialect, "")];
  for (const [i, upstream] of fallback.entries()) {
    const place = `fallback[${i}]`;
    checkOptionNames(
      `Cannot create the source: ${place}`,
      upstream,
      Object.keys(UPSTREAM_NAMES),
    );
    upstreams.push(checkUpstream(upstream, dialect, `${place}: `));
  }
  const limits = { ...DEFAULTS };
  for (const name of LIMITS) {
    const value = options[name] ?? DEFAULTS[name];
    const [min, max] = name === "retries" ? [0, 10] : [1, 2 ** 31 - 1];
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new RangeError(
        `Cannot create the source: ${name} is not an integer from ${min} to ${max}`,
      );
    }
    limits[name] = value;
  }
  return { limits, upstreams };
}

function checkUpstream<Input>(
  options: ModelUpstream<Input>,
  dialect: Dialect,
  place: string,
): CheckedUpstream<Input> {
  const { baseURL, model, fields, apiKey, body, headers } = options;
  const reject = (what: string) => new TypeError(`Cannot create the source: ${place}${what}`);
  if (!/^https?:$/.test(URL.canParse(baseURL) ? new URL(baseURL).protocol : "")) {
    throw reject("baseURL is not an http or https URL");
  }
  if (typeof model !== "string" || model === "") throw reject("model is missing");
  // A string has an `includes` of its own.
  if (fields !== undefined && !Array.isArray(fields)) {
    throw reject("fields is not an array of names");
  }
  if (apiKey !== undefined && typeof apiKey !== "string") throw reject("apiKey is not a string");
  if (body !== undefined && typeof body !== "function" && !isObject(body)) {
    throw reject("body is not an object of fields");
  }
  const url = new URL(baseURL);
  const path = url.pathname.replace(/\/*$/, "");
  url.pathname = dialect.pathUnder(path);
  const secrets = secretsIn([...url.searchParams, ...Object.entries(headers ?? {})]);
  return {
    options,
    url: url.href,
    name: `The upstream ${url.origin}${path}`,
    headers: headersOf(options, dialect, reject),
    mask: masking([apiKey ?? "", ...secrets]),
  };
}

/** The values of headers and of a query that may hold a key, by their names. */
function secretsIn(fields: readonly [name: string, value: string][]): string[] {
  return fields.filter(([name]) => /auth|key|token|secret|cookie|code|sig/i.test(name))
    .flatMap(([, value]) => [String(value), String(value).replace(/^\w+ /, "")]);
}

function headersOf(
  { headers: further, apiKey = "" }: ModelUpstream<never>,
  dialect: Dialect,
  reject: (what: string) => TypeError,
): Headers {
  try {
    const headers = new Headers(further);
    headers.set("content-type", "application/json");
    headers.set("accept", "text/event-stream");
    // A compressor in between holds tokens back.
    headers.set("accept-encoding", "identity");
    dialect.authorize(headers, apiKey);
    return headers;
  } catch {
    // Without its cause: Deno's error repeats the value, and the value may be a key.
    throw reject("apiKey or headers hold what no header can carry");
  }
}
