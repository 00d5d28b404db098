/**
 * A request that can close its connection. Separate from the response because few runtimes let one close
 * it, and a stream that nobody reads is all that needs it.
 */

/** The key of the function of a request that closes its connection soon, whether anything waits or not. */
export const CLOSE_SOON: unique symbol = Symbol("closeSoon");

/** A request of a runtime that closes connections. */
export interface ClosableRequest {
  [CLOSE_SOON]?(): void;
}
