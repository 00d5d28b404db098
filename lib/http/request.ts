/**
 * Tells who passes something else than a `Request` what to do. Node's own requests look like one at
 * first, and would fail later with an error that says nothing.
 */
/** @throws {TypeError} If `request` is no `Request`. */
export function checkRequest(doing: string, request: unknown): void {
  const asked = request as { method?: unknown; headers?: { get?: unknown } } | undefined;
  if (asked?.method && asked.headers?.get) return;
  throw new TypeError(
    `${doing} without a Request: write sse(request, source); on Node use spillway/node`,
  );
}

/** Where a `fetch` function has a response for what makes no `Request`, as a bad target on Node. */
export const REJECT: unique symbol = Symbol();

/** A `fetch` function that may have one. */
export interface RejectingFetch {
  readonly [REJECT]?: (error: unknown, request: unknown) => Response;
}
