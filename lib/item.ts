/** What a source makes, and how its model ended: the types that sources, queue and formats share. */

/** One item of a source: a token, or structured data that is sent as JSON under an event name. */
export type Item = string | { event?: string; data: unknown };

/** How the model ended: what a generator may return, and what `close` takes. */
export interface Summary {
  /** Why the model stopped, in the upstream's own words: `stop`, `length`, `tool_calls`… */
  finishReason?: string | undefined;
  /** Tokens that were billed, under the upstream's own field names. */
  usage?: Record<string, unknown> | undefined;
}
