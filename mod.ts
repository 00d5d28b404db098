/**
 * Spillway streams a language model's tokens to clients: Server-Sent Events from one
 * `Request -> Response` function, on Bun, Deno and every other runtime that has `fetch`.
 *
 * @module
 */
export { type Problem, StreamError, type StreamErrorOptions } from "./lib/error.ts";
export type { ChatFields, ChatMessage, ChatTool } from "./lib/chat.ts";
export type { ActiveCounts } from "./lib/counters.ts";
export type { Item, Summary } from "./lib/item.ts";
export { AsyncQueue, type AsyncQueueOptions } from "./lib/pipeline/queue.ts";
export type { Source, SourceContext, SourceFunction, StartedSource } from "./lib/pipeline/pump.ts";
export type { End, Format, FormatContext, Framer } from "./lib/formats/format.ts";
export type { GenerationOptions, StreamReport } from "./lib/pipeline/generation.ts";
export type { ReaderOptions } from "./lib/pipeline/stream.ts";
export {
  type AnthropicFormat,
  anthropicFormat,
  type AnthropicFormatOptions,
} from "./lib/formats/anthropic.ts";
export { type OpenAiFormat, openaiFormat, type OpenAiFormatOptions } from "./lib/formats/openai.ts";
export {
  type UiMessageFormat,
  uiMessageFormat,
  type UiMessageFormatOptions,
} from "./lib/formats/ui_message.ts";
export { sse } from "./lib/http/sse.ts";
export type { ResumeOptions, SseOptions, StopOptions } from "./lib/http/options.ts";
export { resume, stop } from "./lib/http/resume.ts";
export { MemoryLog, type MemoryLogOptions } from "./lib/replay/memory.ts";
export { SharedLog, type SharedLogOptions } from "./lib/replay/shared/shared_log.ts";
export type { EventStore } from "./lib/replay/shared/event_store.ts";
export { RedisLog, type RedisLogOptions } from "./lib/replay/redis/redis_log.ts";
export {
  bunRedis,
  type BunRedisClient,
  ioRedis,
  type IoRedisClient,
  nodeRedis,
  type NodeRedisClient,
  type RedisConnection,
} from "./lib/replay/redis/clients.ts";
export type { Disconnect, ReplayLog } from "./lib/http/replay_log.ts";
export type { AccessOptions } from "./lib/handler/access.ts";
export type { BodyLimits } from "./lib/handler/body.ts";
export type {
  OutputOf,
  StandardIssue,
  StandardResult,
  StandardSchema,
} from "./lib/handler/input.ts";
export type { ApiInfo } from "./lib/handler/openapi/document.ts";
export type { QueryInput, StreamingInput } from "./lib/handler/routes/streaming.ts";
export type { ChatCompletionRequest, OpenAiInput } from "./lib/handler/routes/openai.ts";
export type {
  AnthropicInput,
  AnthropicTool,
  ContentBlock,
  MessagesRequest,
} from "./lib/handler/routes/anthropic.ts";
export type {
  UiChatRequest,
  UiMessage,
  UiMessageInput,
  UiPart,
} from "./lib/handler/routes/ui_message.ts";
export type { ModelEntry } from "./lib/handler/routes/models.ts";
export type { Stats } from "./lib/handler/metrics.ts";
export type { ChatInput, HandlerLimits } from "./lib/handler/options.ts";
export type { Handler } from "./lib/handler.ts";
export { createHandler, type FullHandlerOptions as HandlerOptions } from "./lib/full_handler.ts";
export { decodeEvents, EventDecoder, type EventDecoderOptions } from "./lib/sse/decode.ts";
export { encodeEvent, eventFrame, type EventWriter } from "./lib/sse/encode.ts";
export type { ServerSentEvent, ServerSentEventInit } from "./lib/sse/event.ts";
export type { Frame as EventFrame } from "./lib/sse/utf8.ts";
export { echo, type EchoOptions } from "./lib/sources/echo.ts";
export { openai, type OpenAiOptions } from "./lib/sources/openai.ts";
export { type LangChainCallbacks, langChainCallbacks } from "./lib/sources/langchain.ts";
export { relay, type RelayOptions } from "./lib/sources/relay.ts";
