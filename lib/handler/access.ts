/**
 * Who may ask: the hosts that are served and the origins allowed to call from a browser. It stands
 * before every route, so that a page elsewhere cannot spend the model's money.
 */
import { StreamError } from "../error.ts";

/** Whose request it is, or why it is refused: a StreamError of 401 or 403; nothing at all is 401. */
export type Authorization = string | StreamError | undefined | null;

/** Options of who may ask. */
export interface AccessOptions {
  /**
   * Says whose a request is, before any route but those that hold nothing of anybody's. The owner, one
   * to 256 characters, is kept with each stream: others cannot see, resume or stop it.
   *
   * @default {everybody is the same nobody}
   */
  authorize?: (request: Request) => Authorization | Promise<Authorization>;
  /** Origins that may call from a browser, as `https://example.com`; `*` is every one. @default {none but our own} */
  cors?: readonly string[];
  /** Host names that are served, without port; none named is every one. @default {every one} */
  allowedHosts?: readonly string[];
}

/** What a preflight is told, beside the headers it asks for, and what a granted response carries. */
const ALLOWED_HEADERS = "accept, authorization, content-type, last-event-id";
const EXPOSED_HEADERS = "x-stream-id, retry-after";
/** Names of headers with commas between them. */
const TOKENS = /^[\w!#$%&'*+.^`|~-]+(\s*,\s*[\w!#$%&'*+.^`|~-]+)*$/;

/**
 * Refuses a foreign `Host`, and a cross-site request whose origin was not granted.
 *
 * @throws {StreamError} 421 or 403.
 */
export function checkAccess(request: Request, url: URL, options: AccessOptions): void {
  const { allowedHosts = [] } = options;
  if (allowedHosts.length > 0 && !allowedHosts.includes(url.hostname)) {
    throw new StreamError("misdirected");
  }
  // A link from elsewhere to one of our pages is a navigation and harmless.
  if (request.headers.get("sec-fetch-mode") === "navigate" && request.method === "GET") return;
  if (isForeign(request, url) && grantFor(request, options) === undefined) {
    throw new StreamError("forbidden", { detail: "This origin may not call from a browser" });
  }
}

/**
 * Whose the request is; `undefined` where nobody is asked.
 *
 * @throws {StreamError} 401 or 403.
 * @throws {TypeError} If the owner is no name.
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

/** Adds what a granted origin needs to read the response. */
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
  response.headers.set("access-control-expose-headers", EXPOSED_HEADERS);
  return response;
}

/**
 * The answer to OPTIONS, a preflight or not. Every header that is asked for is allowed: the clients'
 * packages send a dozen of their own, other ones with every version, and it is the origin's grant
 * that protects.
 */
export function preflight(request: Request, allow: string): Response {
  const asked = (request.headers.get("access-control-request-headers") ?? "").toLowerCase();
  const allowed = TOKENS.test(asked) ? `${ALLOWED_HEADERS}, ${asked}` : ALLOWED_HEADERS;
  return new Response(null, {
    status: 204,
    headers: {
      allow,
      "access-control-allow-methods": allow,
      "access-control-allow-headers": allowed,
      "access-control-max-age": "600",
    },
  });
}

function grantFor(request: Request, { cors = [] }: AccessOptions): string | undefined {
  const origin = request.headers.get("origin");
  if (origin === null) return undefined;
  if (cors.includes("*")) return "*";
  return cors.includes(origin) ? origin : undefined;
}

/** By the browser's own word, else by comparing hosts: a proxy may have changed the scheme. */
function isForeign(request: Request, url: URL): boolean {
  const site = request.headers.get("sec-fetch-site");
  if (site !== null) return site !== "same-origin" && site !== "none";
  const origin = request.headers.get("origin");
  if (origin === null) return false;
  return !URL.canParse(origin) || new URL(origin).host !== url.host;
}
