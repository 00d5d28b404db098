/**
 * What an event is, on its way out and on its way in. It stands apart so that encoder and decoder
 * share the words without sharing code.
 */

/**
 * One record to be encoded. At least one field; each is written only if it is given.
 * HTML Standard, section 9.2.6.
 */
export interface ServerSentEventInit {
  /** Written as comment lines before the event; a reader never sees it. */
  comment?: string;
  /** The name that the reader dispatches on. No CR, LF or NUL; `""` is the default, `message`. */
  event?: string;
  /** The payload. CRLF, CR and LF arrive as LF: the format cannot carry a CR. */
  data?: string;
  /** What the reader sends back as `Last-Event-ID`. No CR, LF or NUL; `""` resets it. */
  id?: string;
  /** How long the reader waits before it reconnects, in ms: an integer from 100 to 60 000. */
  retry?: number;
}

/** One event as the standard dispatches it. HTML Standard, section 9.2.6. */
export interface ServerSentEvent {
  /** The event name, `message` where none was sent. */
  event: string;
  /** The data lines, joined by LF. */
  data: string;
  /** The id in force: it persists until another one is sent. */
  lastEventId: string;
  /** The reconnection time in ms, if this event's block set one. */
  retry?: number;
}
