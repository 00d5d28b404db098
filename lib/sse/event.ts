/**
 * The types of an event, as it is sent and as it is received. Separate from encoder and decoder
 * because they share these types and no code.
 */

/**
 * One event to be encoded. At least one field is required; each is written only if it is given.
 * HTML Standard, section 9.2.6.
 */
export interface ServerSentEventInit {
  /** A comment, written as comment lines before the event; clients ignore it. */
  comment?: string;
  /** The event name that the client dispatches on. No CR, LF or NUL; `""` is the default, `message`. */
  event?: string;
  /** The payload. CRLF, CR and LF arrive as LF: the format cannot carry a CR. */
  data?: string;
  /** The id that the client sends back as `Last-Event-ID`. No CR, LF or NUL; `""` resets it. */
  id?: string;
  /** How long the client waits before it reconnects, in ms: an integer from 100 to 60 000. */
  retry?: number;
}

/** One event as the standard dispatches it. HTML Standard, section 9.2.6. */
export interface ServerSentEvent {
  /** The event name, `message` where none was sent. */
  event: string;
  /** The data lines, joined by LF. */
  data: string;
  /** The last event id in force: it persists until the stream sends another one. */
  lastEventId: string;
  /** The reconnection time in ms, if this event's block set one. */
  retry?: number;
}
