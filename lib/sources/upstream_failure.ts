/**
 * What an upstream's failure means: for the client a code of our own, for the operator the status and
 * the beginning of the body, and whether the same request may be sent again. Separate from the request
 * because an upstream may also tell its failure in the first event of a good response.
 */
import { StreamError } from "../error.ts";
import { type UpstreamCode, upstreamError } from "./codes.ts";
import { isObject, parseJson } from "../values.ts";

/** How many characters of a body the operator is told. */
const MAX_TOLD = 500;

/**
 * Why an upstream gave no answer, for the operator alone: the cause of the `StreamError` that
 * `onError` gets. Its message has one line, and keys in it are masked.
 */
export class UpstreamError extends Error {
  /** The name of the class, which stays when a bundler shortens that of its variable. */
  override readonly name = "UpstreamError";
  /** The HTTP status of the upstream, or that which its error stands for; `undefined` if none. */
  readonly status: number | undefined;
  /** The first 500 characters of what the upstream said, with masked keys; `undefined` if nothing. */
  readonly body: string | undefined;

  /** Creates an error with what the upstream said. */
  constructor(message: string, status?: number, body?: string) {
    super(body ? `${message}: ${body.replace(/\s+/g, " ")}` : message);
    this.status = status;
    this.body = body;
  }
}

/** A request that failed before its first item, and what may follow. */
export interface Failure {
  readonly error: unknown;
  /** Whether the same upstream may be asked again. */
  readonly mayRetry: boolean;
  /** Whether another upstream may be asked: not if the fault is the request's own. */
  readonly mayFallBack: boolean;
  /** How long the upstream asks to wait, in ms; `undefined` if it did not say. */
  readonly waitMs: number | undefined;
}

/** A failure after which the same upstream is not asked again. */
export function failureOf(error: unknown): Failure {
  return { error, mayRetry: false, mayFallBack: true, waitMs: undefined };
}

/** What an upstream said of its failure. */
export interface Reported {
  /** The status of the response; 200 if its error came in the body. */
  readonly status: number;
  /** The headers of the response, if the error came with it. */
  readonly headers?: Headers;
  /** The error in its body or event, if there is one. */
  readonly error: ReportedError | undefined;
  /** Our code where the status has none of its own. */
  readonly code: "bad_upstream" | "upstream_failed";
}

/** An error object, in whatever shape. */
export interface ReportedError {
  /** The HTTP status in it, if it has one. */
  readonly status: number | undefined;
  /** Its codes and types in lower case, the most special first. */
  readonly names: readonly string[];
  readonly message: string;
  /** How long it asks to wait, in ms. */
  readonly waitMs: number | undefined;
}

/**
 * The codes and types that upstreams use, with the status that they stand for. They are asked where
 * an error has no status of its own, and where its status says less than its code.
 */
const STATUSES = new Map<string, number>([
  ["invalid_request_error", 400],
  ["invalid_request", 400],
  ["bad_request", 400],
  ["badrequesterror", 400],
  ["invalid_argument", 400],
  ["invalid_api_key", 401],
  ["api_key_invalid", 401],
  ["authentication_error", 401],
  ["unauthenticated", 401],
  ["insufficient_balance", 402],
  ["billing_hard_limit_reached", 402],
  ["billing_not_active", 402],
  ["permission_error", 403],
  ["permission_denied", 403],
  ["model_not_found", 404],
  ["not_found_error", 404],
  ["request_too_large", 413],
  ["validation", 422],
  ["unprocessable_entity", 422],
  ["insufficient_quota", 429],
  ["quota_exceeded", 429],
  ["rate_limit_exceeded", 429],
  ["rate_limit_error", 429],
  ["rate_limited", 429],
  ["too_many_requests", 429],
  ["resource_exhausted", 429],
  ["server_error", 500],
  ["api_error", 500],
  ["internal_server_error", 500],
  ["provider_unavailable", 503],
  ["overloaded", 503],
  ["overloaded_error", 503],
  ["server_is_overloaded", 503],
  ["service_unavailable", 503],
  ["unavailable", 503],
]);

/** The codes and types of a prompt that is too long for the model. */
const TOO_LONG = new Set([
  "context_length_exceeded", // OpenAI, Azure, Groq, OpenRouter
  "exceed_context_size_error", // llama.cpp
  "string_above_max_length", // OpenAI
  "model_max_prompt_tokens_exceeded", // GitHub
]);
/** What is said of such a prompt where it has no code: vLLM, LiteLLM, Anthropic, Bedrock. */
const SAYS_TOO_LONG =
  /maximum context length|exceeds? (?:the )?(?:available |model's )?context|(?:prompt|input) is too long/i;
/** The statuses that a prompt which is too long may have; 200 is an error in the body. */
const MAY_BE_TOO_LONG = new Set([200, 400, 413, 422, 500]);

/** Codes for which waiting does not help. */
const OUT_OF_QUOTA = new Set(["insufficient_quota", "quota_exceeded"]);

/** Our codes for the statuses that say that the request is at fault. */
const REJECTIONS: Readonly<Record<number, UpstreamCode>> = {
  400: "upstream_bad_request",
  413: "upstream_too_large",
  422: "upstream_unprocessable",
};
/** Our codes for other statuses. */
const CODES: Readonly<Record<number, string>> = { 408: "upstream_timeout", 429: "rate_limited" };
/** The statuses after which the same request may succeed, beside 429 and 5xx. */
const TRANSIENT = new Set([408, 409, 425]);

/**
 * The failure that an upstream reports.
 *
 * @param cause What the operator is told.
 */
export function reportedFailure(reported: Reported, cause: UpstreamError): Failure {
  const { headers, error } = reported;
  const names = error?.names ?? [];
  if (isTooLong(reported)) return rejection("context_length_exceeded", cause);
  const status = statusOf(reported);
  // A limit of the account's, which another upstream need not have: waiting does not help.
  const isLimit = status === 413 && names.some((name) => STATUSES.get(name) === 429);
  if (isLimit) return failureOf(new StreamError("rate_limited", { status, cause }));
  const code = REJECTIONS[status];
  if (code !== undefined) return rejection(code, cause);
  const waitMs = waitOf(headers) ?? error?.waitMs;
  const again = headers?.get("x-should-retry");
  const isTransient = status === 429 || status >= 500 || TRANSIENT.has(status);
  const mayRetry = again === "true" ||
    (again !== "false" && isTransient && !names.some((name) => OUT_OF_QUOTA.has(name)));
  const retryAfter = waitMs === undefined ? {} : { retryAfter: Math.ceil(waitMs / 1000) };
  return {
    error: new StreamError(CODES[status] ?? reported.code, { cause, ...retryAfter }),
    mayRetry,
    mayFallBack: true,
    waitMs,
  };
}

function rejection(code: UpstreamCode, cause: UpstreamError): Failure {
  const error = upstreamError(code, { cause });
  return { error, mayRetry: false, mayFallBack: false, waitMs: undefined };
}

function isTooLong({ status, error }: Reported): boolean {
  if (error === undefined || !MAY_BE_TOO_LONG.has(status)) return false;
  if (error.names.some((name) => TOO_LONG.has(name))) return true;
  if (error.names.some((name) => STATUSES.get(name) === 429)) return false;
  return SAYS_TOO_LONG.test(error.message);
}

/** The status that counts: that of the response, unless the error in it says more. */
function statusOf({ status, error }: Reported): number {
  if (error === undefined) return status;
  const named = error.names.map((name) => STATUSES.get(name)).find((found) => found !== undefined);
  if (status === 200) return error.status ?? named ?? 500;
  // Some say 400 of a key or a model that is wrong, which is the server's fault and not the request's.
  return status === 400 && named !== undefined && named > 400 ? named : status;
}

/** How long the upstream asks to wait, in ms; `undefined` if it does not say, or nonsense. */
function waitOf(headers: Headers | undefined): number | undefined {
  if (headers === undefined) return undefined;
  for (const name of ["retry-after-ms", "x-ms-retry-after-ms"]) {
    const text = headers.get(name) ?? "";
    if (DECIMAL.test(text)) return saneMs(Number(text));
  }
  const text = headers.get("retry-after") ?? "";
  return saneMs(DECIMAL.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now());
}

const DECIMAL = /^\d+(?:\.\d+)?$/;

function saneMs(ms: number): number | undefined {
  return ms >= 0 && ms < 2 ** 31 * 1000 ? ms : undefined;
}

/**
 * The error in a body or in an event's data, in any of the shapes that upstreams use: in the place of a
 * chunk, or within one.
 *
 * @param isError Whether the text is known to be about an error.
 */
export function errorIn(text: string, isError: boolean): ReportedError | undefined {
  // Nearly no event has one: the text is asked before it is parsed.
  if (!isError && !text.includes('"error"')) return undefined;
  const value = parseJson(text);
  // Google wraps its errors in a list.
  const body = Array.isArray(value) ? value[0] : value;
  if (!isObject(body)) return isError ? readError(text, {}) : undefined;
  const { error, object, choices, response } = body as Fields;
  const [choice] = Array.isArray(choices) ? choices : [];
  // OpenAI's Responses API has it in the response.
  const found = error || [choice, response].map((held) => Object(held).error).find(Boolean) ||
    (isError || object === "error" ? body : undefined);
  return found ? readError(found, body) : undefined;
}

type Fields = Record<string, unknown>;

function readError(error: unknown, around: object): ReportedError {
  const fields = isObject(error) ? error as Fields : {};
  const { code, type, status, message, detail, metadata, details } = fields;
  const further = isObject(metadata) ? (metadata as Fields)["error_type"] : undefined;
  const lists = Array.isArray(details) ? details.filter(isObject) as Fields[] : [];
  const names = [
    ...lists.map(({ reason }) => reason),
    code,
    further,
    fields["error_type"] ?? (around as Fields)["error_type"],
    type,
    status,
  ];
  return {
    status: [code, status].map(numberIn).find((number) => number >= 400 && number < 600),
    names: names.filter((name) => typeof name === "string").map((name) => name.toLowerCase()),
    message: [error, message, detail].find((text) => typeof text === "string") ?? "",
    waitMs: lists.map(({ retryDelay }) =>
      typeof retryDelay === "string" ? /^([\d.]+)s$/.exec(retryDelay)?.[1] : undefined
    )
      .map((seconds) => saneMs(Number(seconds) * 1000)).find((ms) => ms !== undefined),
  };
}

/** A number, perhaps as text. An object may have nothing that makes it one. */
function numberIn(value: unknown): number {
  return typeof value === "number" || typeof value === "string" ? Number(value) : NaN;
}

/** Keys as providers make them, and bearer tokens. Some repeat a key with stars in its middle. */
const KEYS =
  /\b(?:sk|rk|pk|xai|nvapi|pplx|csk)-[\w*.-]{4,}|\b(?:gsk|hf|fw)_[\w*]{4,}|\bAIza[\w*-]{8,}/g;
const TOKENS = /\b(bearer|basic)(\s+|%20)[^\s"',;<>]+/gi;

/** What is shorter is a word that stands for no key, as `none`. */
const MIN_SECRET = 6;

/**
 * Makes what removes the keys from a text.
 *
 * @param secrets The keys that were sent, which the upstream may repeat.
 */
export function masking(secrets: readonly string[]): (text: string) => string {
  const written = secrets.filter((secret) => secret.length >= MIN_SECRET)
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)]);
  return (text) => {
    let masked = text;
    for (const secret of written) masked = masked.replaceAll(secret, "***");
    return masked.replace(TOKENS, "$1$2***").replace(KEYS, "***");
  };
}

/** The beginning of a text, with masked keys, as the operator is told it. */
export function excerptOf(text: string, mask: (text: string) => string): string {
  return mask(text).trim().slice(0, MAX_TOLD);
}
