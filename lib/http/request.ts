/**
 * Tells who passes something else than a `Request` what to do. Node's own requests look like one at
 * first, and would fail later with an error that says nothing.
 */
/** @throws {TypeError} If `request` is no `Request`. */
export function checkRequest(doing: string, request: unknown): void {
  // JavaScript may pass anything.
  if ((request as Partial<Request> | undefined)?.headers?.get) return;
  throw new TypeError(`${doing} without a Request, which comes first; on Node use spillway/node`);
}
