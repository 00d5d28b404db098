/**
 * The URL of a request. Separate because it need not be one: servers build `request.url` from the
 * client's `Host` header, and neither Bun nor Deno checks that.
 */
import { StreamError } from "../error.ts";

/**
 * What is no host. Deno would take what follows one of these characters for a path, or what precedes
 * it for a login, and puts a host of its own in place of an empty one.
 */
const NO_HOST = /^$|[^!-~]|[@#?/\\]/;

/**
 * The URL of a request.
 *
 * @throws {StreamError} `bad_request` if the request's `Host` makes no URL.
 */
export function urlOf({ url, headers }: Request): URL {
  if (!NO_HOST.test(headers.get("host") ?? "none") && URL.canParse(url)) return new URL(url);
  throw new StreamError("bad_request", { detail: "The Host header is not a host name" });
}

/**
 * A parameter of the query, or `null`. It is read without the rest of the URL, which may be none; and
 * most requests have no query.
 */
export function queryParameter({ url }: Request, name: string): string | null {
  if (!url.includes("?")) return null;
  const [, query] = /^[^?#]*(\?[^#]*)/.exec(url) ?? [];
  return query === undefined ? null : new URLSearchParams(query).get(name);
}
