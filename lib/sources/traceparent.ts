/**
 * The trace that a request belongs to (W3C Trace Context), for the upstream. Separate from the
 * request to the upstream because what a stranger sends is checked here.
 */

/** Version, trace id, parent id, flags; a later version may have more behind them. */
const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?$/;

/**
 * The `traceparent` of a request as the upstream gets it: in version 00, the only one that is known
 * (section 3.2.4 of the standard); `undefined` if it has none, or one that is not valid. A source
 * that is called by hand may have no request.
 */
export function traceparentOf(request: Request | undefined): string | undefined {
  const text = request?.headers.get("traceparent") ?? "";
  const [, version, parent, further] = TRACEPARENT.exec(text) ?? [];
  if (parent === undefined || (version === "00" && further !== undefined)) return undefined;
  return `00-${parent}`;
}
