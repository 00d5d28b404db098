/** Reads the body of a request. Bodies are untrusted, so every length, depth and wait has a limit. */
import { handlerError } from "./codes.ts";
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import { type Clock, systemClock } from "../pipeline/scheduler.ts";
import { joined } from "../values.ts";

/** Limits on the body of a request. */
export interface BodyLimits {
  /** Bytes of a body, 1 or more. @default {1 MiB} */
  maxBodyBytes?: number;
  /** Nesting of arrays and objects, 1 or more. @default {64} */
  maxBodyDepth?: number;
  /** How long a body may take to arrive, in ms, 1 or more. @default {30 000} */
  bodyTimeoutMs?: number;
}

/**
 * The JSON value in a request's body.
 *
 * @throws {StreamError} 415 for another media type, charset or coding; 413 past the limit, also when
 * chunked; 408 if it does not arrive; 400 if it is empty, too deep, or not JSON in UTF-8.
 */
export async function readJson(
  request: Request,
  limits: BodyLimits = {},
  clock?: Clock,
): Promise<unknown> {
  checkMediaType(request.headers);
  const bytes = await readBody(request, limits, clock);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new StreamError("bad_request", { detail: "The body is not valid UTF-8", cause });
  }
  if (text.trim() === "") throw new StreamError("bad_request", { detail: "The body is empty" });
  const maxDepth = limits.maxBodyDepth ?? 64;
  if (depthOf(text, maxDepth) > maxDepth) {
    throw new StreamError("bad_request", { detail: `The body is nested over ${maxDepth} deep` });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new StreamError("bad_request", { detail: "The body is not valid JSON", cause });
  }
}

function checkMediaType(headers: Headers): void {
  const [type = "", ...parameters] = (headers.get("content-type") ?? "")
    .split(";").map((part) => part.trim().toLowerCase());
  if (type !== "application/json" && !/^application\/[\w.+-]+\+json$/.test(type)) {
    throw handlerError("unsupported_media_type", { detail: "Send application/json" });
  }
  const charset = parameters.find((parameter) => parameter.startsWith("charset="));
  if (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)) {
    throw handlerError("unsupported_media_type", { detail: "Send UTF-8" });
  }
  const coding = headers.get("content-encoding")?.trim().toLowerCase() ?? "identity";
  if (coding !== "identity") {
    throw handlerError("unsupported_media_type", { detail: "Send the body uncompressed" });
  }
}

/**
 * The bytes of a request's body.
 *
 * @throws {StreamError} 413 past the limit, also when chunked; 408 if it does not arrive.
 */
export async function readBody(
  request: Request,
  limits: BodyLimits,
  clock: Clock = systemClock,
): Promise<Uint8Array> {
  const maxBytes = limits.maxBodyBytes ?? 1024 * 1024;
  const tooLarge = () =>
    handlerError("payload_too_large", { detail: `The limit is ${maxBytes} bytes` });
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) throw tooLarge();
  if (request.body === null) return new Uint8Array();
  const reader = request.body.getReader();
  let isLate = false;
  active.timers++;
  const timer = clock.setTimer(() => {
    isLate = true;
    cancelQuietly(reader);
  }, limits.bodyTimeoutMs ?? 30_000);
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (isLate) throw handlerError("request_timeout");
      if (done) break;
      size += value.length;
      if (size > maxBytes) {
        cancelQuietly(reader);
        throw tooLarge();
      }
      chunks.push(value);
    }
  } catch (error) {
    if (error instanceof StreamError) throw error;
    if (isLate) throw handlerError("request_timeout");
    throw new StreamError("bad_request", { detail: "The body broke off", cause: error });
  } finally {
    clock.clearTimer(timer);
    active.timers--;
  }
  return joined(chunks);
}

/**
 * Cancels a body whose rest is not wanted. If it cannot be cancelled any more, nothing is left to
 * do.
 */
function cancelQuietly(reader: ReadableStreamDefaultReader<Uint8Array>): void {
  reader.cancel().catch(() => {});
}

/** How deep arrays and objects nest, counted up to one past `limit`, before anything is parsed. */
function depthOf(json: string, limit: number): number {
  let depth = 0;
  let deepest = 0;
  let quoted = false;
  for (let i = 0; i < json.length; i++) {
    const char = json[i];
    if (quoted) {
      if (char === "\\") i++;
      else if (char === '"') quoted = false;
    } else if (char === '"') quoted = true;
    else if (char === "[" || char === "{") {
      deepest = Math.max(deepest, ++depth);
      if (deepest > limit) return deepest;
    } else if (char === "]" || char === "}") depth--;
  }
  return deepest;
}
