/**
 * `spillway/sse`: the wire by itself. Events to text and bytes, and bytes to events at any split
 * (HTML Standard, section 9.2).
 *
 * @module
 */
export { EventDecoder, type EventDecoderOptions } from "./sse/decode.ts";
export { decodeEvents } from "./sse/decode_events.ts";
export { encodeEvent } from "./sse/encode.ts";
export type { ServerSentEvent, ServerSentEventInit } from "./sse/event.ts";
