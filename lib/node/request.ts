/** A request of Node's as a web `Request`: its URL, its headers, and its body unless a parser has it. */
import { StreamError } from "../error.ts";
import { type RespondingRequest, RESPONSE } from "../http/response.ts";
import { checkHost } from "../http/url.ts";
import { isObject } from "../values.ts";
import { StreamResponse } from "./bytes_response.ts";
import type { NodeRequest } from "./types.ts";

/** A request whose short streams become a response without the cost of one. */
class StreamedRequest extends Request implements RespondingRequest {
  readonly [RESPONSE] = StreamResponse;
}

/**
 * A request without a body, whose signal is its own: a `Request` that is given one costs four times
 * as much on Node (benchmark case: burst). Only a copy by `new Request(request)` lacks it; there the
 * cancelled body alone tells that the client has disconnected.
 */
class BareRequest extends StreamedRequest {
  readonly #client: Client;

  constructor(url: string, init: RequestInit, client: Client) {
    super(url, init);
    this.#client = client;
  }

  override get signal(): AbortSignal {
    return this.#client.signal;
  }

  override clone(): Request {
    return new Request(this, { signal: this.signal });
  }
}

/** Who sent a request. */
export interface Client {
  /** Aborts when the client disconnects. Made when it is asked for. */
  readonly signal: AbortSignal;
}

/** What middleware adds to a request. */
interface ParsedRequest extends NodeRequest {
  /** The URL as the client sent it, where Express has cut off the path of a mount. */
  readonly originalUrl?: string;
  /** What a body parser has made of the body. */
  readonly body?: unknown;
  /** The bytes that a body parser has kept. */
  readonly rawBody?: unknown;
}

/**
 * The web `Request` of a request.
 *
 * @throws {StreamError} 400 if it can have none: a host or a target that makes no URL, or a method
 * that `Request` forbids.
 */
export function requestOf(req: ParsedRequest, client: Client): Request {
  const { method = "GET" } = req;
  const url = urlOf(req);
  try {
    if (method === "GET" || method === "HEAD" || !hasBody(req)) {
      return new BareRequest(url, { method, headers: fieldsOf(req) }, client);
    }
    const headers = new Headers(fieldsOf(req));
    const body = bodyOf(req, headers);
    const { signal } = client;
    return new StreamedRequest(
      url,
      { method, headers, body, signal, duplex: "half" } as RequestInit,
    );
  } catch (cause) {
    throw new StreamError("bad_request", {
      detail: "The method or a header makes no Request",
      cause,
    });
  }
}

function urlOf(req: ParsedRequest): string {
  const target = req.originalUrl ?? req.url ?? "/";
  // The form for proxies: it names the host itself.
  if (/^https?:\/\//i.test(target)) return target;
  // A request of HTTP/1.0 may do without a host, as the health checks of some proxies do.
  const host = req.headers["host"] ?? req.headers[":authority"] ?? "localhost";
  if (!target.startsWith("/")) {
    throw new StreamError("bad_request", { detail: "The request target is not a path" });
  }
  const { encrypted } = req.socket as { encrypted?: boolean };
  const url = `${encrypted ? "https" : "http"}://${host}${target}`;
  checkHost(String(host), url);
  return url;
}

function fieldsOf({ headers: fields, httpVersionMajor }: NodeRequest): HeadersInit {
  if (httpVersionMajor < 2 && fields["set-cookie"] === undefined) {
    return fields as Record<string, string>;
  }
  const headers = new Headers();
  for (const [name, value] of Object.entries(fields)) {
    if (name.startsWith(":") || value === undefined) continue;
    for (const one of typeof value === "string" ? [value] : value) headers.append(name, one);
  }
  return headers;
}

function hasBody({ headers, httpVersionMajor, readableEnded }: NodeRequest): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"]) > 0 ||
    (httpVersionMajor >= 2 && !readableEnded);
}

/** The body: the stream, or what a parser has made of it; `headers` are changed to fit that. */
function bodyOf(req: ParsedRequest, headers: Headers): BodyInit {
  if (!req.readableDidRead && !req.readableEnded) {
    // Nothing is read before somebody asks.
    return streamOf(chunksOf(req));
  }
  const parsed = req.rawBody ?? req.body;
  if (!req.readableEnded || parsed === undefined) return streamOf(alreadyRead());
  // A parser has inflated the body, and decoded its text.
  headers.delete("content-encoding");
  headers.delete("content-length");
  if (parsed instanceof Uint8Array) return parsed as BodyInit;
  const [type = ""] = (headers.get("content-type") ?? "").split(";");
  if (headers.has("content-type")) headers.set("content-type", type.trim());
  if (typeof parsed === "string") return parsed;
  const isForm = type.trim().toLowerCase() === "application/x-www-form-urlencoded";
  return isForm && isObject(parsed) ? formOf(parsed) : JSON.stringify(parsed);
}

/** The fields of a form, which are texts or lists of texts. */
function formOf(fields: object): URLSearchParams {
  const pairs = Object.entries(fields).flatMap(([name, value]) =>
    [value].flat().map((one) => [name, String(one)])
  );
  return new URLSearchParams(pairs);
}

/**
 * The chunks of a body. Whoever cancels it keeps the connection: the rest is dropped, as Node does with
 * a body of which nothing was read, because the next request comes behind it.
 */
async function* chunksOf(req: NodeRequest): AsyncGenerator<unknown> {
  try {
    yield* req.iterator({ destroyOnReturn: false });
  } finally {
    req.resume();
  }
}

// deno-lint-ignore require-yield -- a body that fails
async function* alreadyRead(): AsyncGenerator<never> {
  throw new TypeError(
    "Cannot read the body: something has read it before; put the listener before it",
  );
}

function streamOf(chunks: AsyncIterable<unknown>): ReadableStream<Uint8Array<ArrayBuffer>> {
  // Not in TypeScript's DOM library yet.
  const { from } = ReadableStream as unknown as {
    from(chunks: AsyncIterable<unknown>): ReadableStream<Uint8Array<ArrayBuffer>>;
  };
  return from.call(ReadableStream, chunks);
}
