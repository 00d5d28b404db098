/** What a source makes, and how its model ended: the two things that sources, queue and formats share. */

/** What a source makes: a token, or structured data that is sent as JSON under an event name. */
export type Item = string | { event?: string; data: unknown };

/** How the model ended: what a generator may return and `close` may be given. */
export interface Summary {
  /** Why the model stopped, as the upstream says it: `stop`, `length`, `tool_calls`… */
  finishReason?: string | undefined;
  /** Tokens that were paid for, in the upstream's own words. */
  usage?: Record<string, unknown> | undefined;
}
