/**
 * `spillway/node`: a handler as a listener of Node's HTTP servers, Express and Connect. Separate from
 * the handler because it alone knows Node's requests and responses.
 *
 * @module
 */
import type { Handler } from "./handler.ts";
import { REJECT, type RejectingFetch } from "./http/request.ts";
import { Exchange, type NodeFetch } from "./node/exchange.ts";
import type { NodeRequest, NodeResponse } from "./node/types.ts";
import { checkOptionNames } from "./option_names.ts";
import { hasMethod, nameOf } from "./values.ts";

export type { NodeFetch, NodeRequest, NodeResponse };
export type { NodeEmitter, NodeSocket } from "./node/types.ts";

/** Options of {@linkcode toNodeListener}. */
export interface NodeListenerOptions {
  /**
   * Called with what `fetch` throws, and with the error of a body that fails.
   * @default {console.error}
   */
  onError?: (error: unknown) => void;
}

/** A listener for `createServer` of `node:http`, `https` and `http2`, and for `app.use` of Express. */
export type NodeListener = (req: NodeRequest, res: NodeResponse) => void;

/**
 * Makes a listener for Node's servers from a handler or a `fetch` function.
 *
 * `request.signal` aborts when the client disconnects, a slow client slows the source down, and what
 * `fetch` throws is a 500 without details. Under Express, `request.url` is the URL that the client
 * sent, also below a mount: name the mount in `basePath`.
 *
 * @example
 * ```ts
 * import { createServer } from "node:http";
 * import { sse } from "spillway";
 * import { toNodeListener } from "spillway/node";
 *
 * const server = createServer(toNodeListener((request) => sse(request, ["Hel", "lo"])));
 * server.listen(0, "127.0.0.1", () => server.close());
 * ```
 *
 * @throws {TypeError} If `target` is neither, or an option is unknown or of the wrong type.
 */
export function toNodeListener(
  target: Handler | { readonly fetch: NodeFetch } | NodeFetch,
  options: NodeListenerOptions = {},
): NodeListener {
  checkOptionNames("Cannot make a listener", options, ["onError"]);
  const { onError } = options;
  if (onError !== undefined && typeof onError !== "function") {
    throw new TypeError(`Cannot make a listener: onError is ${nameOf(onError)}, not a function`);
  }
  const fetch = fetchOf(target);
  return (req, res) => new Exchange(req, res, onError).run(fetch);
}

function fetchOf(target: unknown): NodeFetch & RejectingFetch {
  if (typeof target === "function") return target as NodeFetch;
  if (hasMethod(target, "fetch")) {
    const fetch: NodeFetch = (request, info) => target.fetch(request, info) as Promise<Response>;
    const { [REJECT]: reject } = target.fetch as RejectingFetch;
    return reject === undefined ? fetch : Object.assign(fetch, { [REJECT]: reject });
  }
  throw new TypeError(
    `Cannot make a listener from ${nameOf(target)}: pass what createHandler returns, ` +
      "or a function that takes a Request and returns a Response",
  );
}
