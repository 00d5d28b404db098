/**
 * Access checks: the hosts that are served, and the origins that may call from a browser. They come
 * before every route, so that another site's page cannot spend the model's budget.
 */
import { handlerError } from "./codes.ts";
import { StreamError } from "../error.ts";

/**
 * The owner of a request, or why it is rejected: a StreamError of 401 or 403; nothing at all is
 * 401.
 */
export type Authorization = string | StreamError | undefined | null;

/** Options that decide who may call. */
export interface AccessOptions {
  /**
   * Returns the owner of a request, or rejects it. Called before every route, except those that
   * expose nobody's data. The owner has 1 to 256 characters and is kept with each stream: other
   * owners cannot see, resume or stop it.
   *
   * @default {all callers share one anonymous owner}
   */
  authorize?: (request: Request) => Authorization | Promise<Authorization>;
  /**
   * Origins that may call from a browser, as the browser sends them: `https://example.com`,
   * `app://obsidian.md`, `chrome-extension://…`; `*` is every one. @default {none but our own}
   */
  cors?: readonly string[];
  /**
   * Whether the origins of `cors` may send cookies and other credentials of the browser; never with
   * `*`. @default {false}
   */
  corsCredentials?: boolean;
  /** Host names that are served, without port; an empty list is every one. @default {every one} */
  allowedHosts?: readonly string[];
}

/**
 * Request headers that a preflight always allows, and response headers that a granted origin may
 * read.
 */
const ALLOWED_HEADERS = "accept, authorization, content-type, last-event-id";
const EXPOSED_HEADERS = "x-stream-id, x-stream-settings, retry-after";
/** A list of header names, separated by commas. */
const TOKENS = /^[\w!#$%&'*+.^`|~-]+(\s*,\s*[\w!#$%&'*+.^`|~-]+)*$/;

/**
 * Rejects a foreign `Host`, and a cross-site request whose origin has no grant.
 *
 * @throws {StreamError} 421 or 403.
 */
export function checkAccess(request: Request, url: URL, options: AccessOptions): void {
  const { allowedHosts = [] } = options;
  if (allowedHosts.length > 0 && !allowedHosts.includes(url.hostname)) {
    throw handlerError("misdirected");
  }
  // A link from elsewhere to one of our pages is a navigation and harmless.
  if (request.headers.get("sec-fetch-mode") === "navigate" && request.method === "GET") return;
  if (isForeign(request, url) && grantFor(request, options) === undefined) {
    throw new StreamError("forbidden", { detail: "This origin may not call from a browser" });
  }
}

/**
 * The owner of a request; `undefined` without `authorize`.
 *
 * @throws {StreamError} 401 or 403.
 * @throws {TypeError} If the owner is not a string of 1 to 256 characters.
 */
export async function ownerOf(
  request: Request,
  { authorize }: AccessOptions,
): Promise<string | undefined> {
  if (authorize === undefined) return undefined;
  const owner = await authorize(request);
  if (owner instanceof StreamError) throw owner;
  if (owner === undefined || owner === null) throw new StreamError("unauthorized");
  if (typeof owner === "string" && owner.length >= 1 && owner.length <= 256) return owner;
  throw new TypeError("Cannot authorize: the owner is not a text of 1 to 256 characters");
}

/** Adds the headers that a granted origin needs to read the response. */
export function grantAccess(
  request: Request,
  response: Response,
  options: AccessOptions,
): Response {
  if (options.cors === undefined || options.cors.length === 0) return response;
  response.headers.append("vary", "Origin");
  const grant = grantFor(request, options);
  if (grant === undefined) return response;
  response.headers.set("access-control-allow-origin", grant);
  if (options.corsCredentials) response.headers.set("access-control-allow-credentials", "true");
  response.headers.set("access-control-expose-headers", EXPOSED_HEADERS);
  return response;
}

/**
 * The response to OPTIONS, a preflight or not. Every header that is asked for is allowed: client
 * packages send a dozen of their own, which change with each version, and what protects is the
 * grant of the origin.
 */
export function preflight(request: Request, allow: string, options: AccessOptions): Response {
  const asked = (request.headers.get("access-control-request-headers") ?? "").toLowerCase();
  const allowed = TOKENS.test(asked) ? `${ALLOWED_HEADERS}, ${asked}` : ALLOWED_HEADERS;
  const headers = new Headers({
    allow,
    "access-control-allow-methods": allow,
    "access-control-allow-headers": allowed,
    "access-control-max-age": "600",
  });
  // A public page that calls a server in its user's own network, as one on localhost.
  const isPrivate = request.headers.get("access-control-request-private-network") === "true";
  if (isPrivate && grantFor(request, options) !== undefined) {
    headers.set("access-control-allow-private-network", "true");
  }
  return new Response(null, { status: 204, headers });
}

function grantFor(request: Request, { cors = [] }: AccessOptions): string | undefined {
  const origin = request.headers.get("origin");
  if (origin === null) return undefined;
  if (cors.includes("*")) return "*";
  return cors.includes(origin) ? origin : undefined;
}

/**
 * Whether a request comes from another site: by the browser's `Sec-Fetch-Site`, else by comparing
 * hosts, because a proxy may have changed the scheme.
 */
function isForeign(request: Request, url: URL): boolean {
  const site = request.headers.get("sec-fetch-site");
  if (site !== null) return site !== "same-origin" && site !== "none";
  const origin = request.headers.get("origin");
  if (origin === null) return false;
  return !/^https?:/.test(origin) || !URL.canParse(origin) || new URL(origin).host !== url.host;
}

/**
 * Whether a text is an origin as browsers send it. Those of the web are in their one spelling; others,
 * as `capacitor://localhost`, are the scheme and whatever it has for a host.
 */
export function isOrigin(text: string): boolean {
  if (/^https?:/i.test(text)) return URL.canParse(text) && new URL(text).origin === text;
  return /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@,\\]+$/.test(text);
}
