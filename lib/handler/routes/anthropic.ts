/**
 * `POST /v1/messages` and `/v1/messages/count_tokens`, the routes of Anthropic's clients. Their messages
 * and tools are translated to those of the chat completions API, so that a source has to know only
 * that one.
 */
import type { Problem } from "../../error.ts";
import { anthropicFormat } from "../../formats/anthropic.ts";
import { jsonResponse } from "../../http/response.ts";
import {
  type AnthropicInput,
  countedRequest,
  type MessagesRequest,
  messagesRequest,
} from "./anthropic_request.ts";
import { estimateTokens } from "./count_tokens.ts";
import type { Api, Call, RouteContext } from "./route.ts";
import type { StreamRoute } from "./stream_route.ts";

/** What `POST /v1/messages` reads and writes. */
export const messages: StreamRoute<MessagesRequest> = {
  ...messagesRequest,
  formatName: "anthropic",
  format: ({ model, stream }) => anthropicFormat.with({ model, buffered: stream !== true }),
};

/** Anthropic's API, as far as Spillway implements it. */
export const anthropicApi: Api = {
  routes: [
    {
      method: "POST",
      path: "/v1/messages",
      answer: (call, context) => context.stream(call, messages),
    },
    { method: "POST", path: "/v1/messages/count_tokens", answer: countTokens },
  ],
  errors: { under: "/v1/messages", format: { ...anthropicFormat, errorBody } },
  formats: [anthropicFormat],
};

/**
 * An error before the response headers. `@anthropic-ai/sdk` reads these details of a thread, and sends
 * the whole conversation instead.
 */
function errorBody(problem: Problem): string {
  const body = anthropicFormat.errorBody!(problem);
  if (problem.code !== "thread_unsupported_request") return body;
  const { error, ...rest } = JSON.parse(body);
  const details = { error_code: problem.code, unsupported: ["thread"] };
  return JSON.stringify({ ...rest, error: { ...error, details } });
}

/** Counts the tokens of a request, which is checked as if it were to be answered. */
async function countTokens(call: Call, context: RouteContext): Promise<Response> {
  const { request, owner } = call;
  const { body, input } = await context.read(call, countedRequest);
  const chat = input as AnthropicInput;
  const counted = await context.countTokens?.(body, { request, owner, input: chat });
  const input_tokens = counted ?? estimateTokens(chat);
  if (!Number.isSafeInteger(input_tokens) || input_tokens < 0) {
    throw new TypeError(`Cannot count tokens: countTokens returned ${String(counted)}`);
  }
  return jsonResponse({ input_tokens });
}
