/**
 * `spillway/formats`: how a stream is written, and what a format of your own needs.
 *
 * @module
 */
export { agUiFormat } from "./formats/ag_ui.ts";
export type { AgUiFormat, AgUiFormatOptions } from "./formats/ag_ui.ts";
export { anthropicFormat } from "./formats/anthropic.ts";
export type { AnthropicFormat, AnthropicFormatOptions } from "./formats/anthropic.ts";
export { commentHeartbeat, eventStreamFormat } from "./formats/format.ts";
export type { End, EventSink, Format, FormatContext, Framer, Position } from "./formats/format.ts";
export { openaiFormat } from "./formats/openai.ts";
export type { OpenAIFormat, OpenAIFormatOptions } from "./formats/openai.ts";
export { responsesFormat } from "./formats/responses.ts";
export type { ResponsesFormat, ResponsesFormatOptions } from "./formats/responses.ts";
export { uiMessageFormat } from "./formats/ui_message.ts";
export type { UIMessageFormat, UIMessageFormatOptions } from "./formats/ui_message.ts";
export { eventFrame } from "./sse/encode.ts";
export type { ServerSentEvent, ServerSentEventInit } from "./sse/event.ts";
export type { Frame } from "./sse/utf8.ts";
export type { Problem } from "./error.ts";
export type { Summary } from "./item.ts";
