/**
 * `spillway/sources`: where tokens come from.
 *
 * @module
 */
export type { ChatFields, ChatMessage, ChatTool } from "./chat.ts";
export type { Item, Summary } from "./item.ts";
export type { Source, SourceContext, SourceFunction, StartedSource } from "./pipeline/pump.ts";
export { AsyncQueue, type AsyncQueueOptions } from "./pipeline/queue.ts";
export { anthropic, type AnthropicOptions, type AnthropicUpstream } from "./sources/anthropic.ts";
export { echo, type EchoOptions } from "./sources/echo.ts";
export { type LangChainCallbacks, langChainCallbacks } from "./sources/langchain.ts";
export type { ModelOptions, ModelUpstream } from "./sources/model_options.ts";
export { openai, type OpenAIOptions, type OpenAIUpstream } from "./sources/openai.ts";
export { type Pace, paced } from "./sources/paced.ts";
export { relay, type RelayOptions } from "./sources/relay.ts";
export { responses, type ResponsesOptions, type ResponsesUpstream } from "./sources/responses.ts";
export { UpstreamError } from "./sources/upstream_failure.ts";
