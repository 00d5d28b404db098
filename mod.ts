/**
 * Spillway streams a language model's tokens to clients: Server-Sent Events from one
 * `Request -> Response` function, on Bun, Deno, Node and every other runtime that has `fetch`.
 *
 * @module
 */
export { connect } from "./lib/client.ts";
export { type Problem, StreamError, type StreamErrorOptions } from "./lib/error.ts";
export { anthropicFormat } from "./lib/formats/anthropic.ts";
export type { Format } from "./lib/formats/format.ts";
export { openaiFormat } from "./lib/formats/openai.ts";
export { uiMessageFormat } from "./lib/formats/ui_message.ts";
export { createHandler, type FullHandlerOptions as HandlerOptions } from "./lib/full_handler.ts";
export type { Handler } from "./lib/handler.ts";
export type { ResumeOptions, SseOptions, StopOptions } from "./lib/http/options.ts";
export { resume, stop } from "./lib/http/resume.ts";
export { sse } from "./lib/http/sse.ts";
export type { Item, Summary } from "./lib/item.ts";
export type { StreamReport } from "./lib/pipeline/generation.ts";
export type { Source, SourceContext } from "./lib/pipeline/pump.ts";
export { AsyncQueue, type AsyncQueueOptions } from "./lib/pipeline/queue.ts";
export type { Clock } from "./lib/pipeline/scheduler.ts";
export { MemoryLog, type MemoryLogOptions } from "./lib/replay/memory.ts";
export { RedisLog, type RedisLogOptions } from "./lib/replay/redis/redis_log.ts";
export type { EventStore } from "./lib/replay/shared/event_store.ts";
export { SharedLog, type SharedLogOptions } from "./lib/replay/shared/shared_log.ts";
export { echo, type EchoOptions } from "./lib/sources/echo.ts";
export { langChainCallbacks } from "./lib/sources/langchain.ts";
export { openai, type OpenAIOptions } from "./lib/sources/openai.ts";
export { relay, type RelayOptions } from "./lib/sources/relay.ts";
export { EventDecoder, type EventDecoderOptions } from "./lib/sse/decode.ts";
export { decodeEvents } from "./lib/sse/decode_events.ts";
export { encodeEvent } from "./lib/sse/encode.ts";
export type { ServerSentEvent, ServerSentEventInit } from "./lib/sse/event.ts";
