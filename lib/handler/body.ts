/** Reads the body of a request. Bodies are untrusted, so every length, depth and wait has a limit. */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import { type Clock, systemClock } from "../pipeline/scheduler.ts";
import { BodyBuffer, chunkAfter, tooLarge } from "./body_buffer.ts";
import { BodyMemory, SMALL_BODIES_BYTES } from "./body_memory.ts";
import { handlerError } from "./codes.ts";
import { definedOf } from "../values.ts";

/** Limits on the body of a request. */
export interface BodyLimits {
  /** Bytes of a body of `POST /streaming`, 1 or more. @default {1 MiB} */
  maxBodyBytes?: number;
  /**
   * Bytes of a body of a chat route, 1 or more: a conversation may hold pictures and documents.
   * @default {32 MiB}
   */
  maxChatBodyBytes?: number;
  /**
   * Bytes of all bodies that are being read, at least as many as the two above. A body that needs more
   * waits, unread, and those that came first go on first. For them a body that has had 5 s without a
   * further MiB ends with `request_timeout`. Where all bodies that have memory wait for more, the newest
   * of them fails with `too_many_bodies`, and so does one that finds 64 waiting. Bodies whose
   * `Content-Length` is 256 KiB or less have 4 MiB of this, so that they never wait for larger ones; both
   * numbers are smaller where this is less than its default.
   * @default {36 MiB, or 4 MiB more than the larger of those two}
   */
  maxBodiesBytes?: number;
  /**
   * Bodies that are being read, 1 or more. Past it the one that has gone without a further MiB for the
   * longest, 5 s or more, ends with `request_timeout`; if there is none, the request fails with
   * `too_many_bodies`. A stream takes its place among `maxStreams` when its body was read.
   * @default {10 000}
   */
  maxBodies?: number;
  /** Nesting of arrays and objects, 1 or more. @default {64} */
  maxBodyDepth?: number;
  /**
   * How long a body, or each further MiB of it, may take to arrive, or may wait for room, in ms, 1 or
   * more.
   * @default {30 000}
   */
  bodyTimeoutMs?: number;
}

/** The limits of bodies by their name, with their defaults. */
export const BODY_LIMITS: Required<BodyLimits> = {
  maxBodyBytes: 2 ** 20,
  maxChatBodyBytes: 32 * 2 ** 20,
  maxBodiesBytes: 32 * 2 ** 20 + SMALL_BODIES_BYTES,
  maxBodies: 10_000,
  maxBodyDepth: 64,
  bodyTimeoutMs: 30_000,
};

/** After so many bytes a body has as much time again. */
const TIMED_BYTES = 2 ** 20;

/** Which limit a body has: that of `POST /streaming`, or that of the chat routes. */
export type BodyKind = "query" | "chat";

/** Reads the bodies of a handler's requests. */
export class BodyReader {
  readonly #limits: Required<BodyLimits>;
  readonly #clock: Clock;
  readonly #memory: BodyMemory;

  constructor(limits: BodyLimits = {}, clock: Clock = systemClock) {
    this.#limits = { ...BODY_LIMITS, ...definedOf(limits) };
    this.#clock = clock;
    const { maxBodyBytes, maxChatBodyBytes, maxBodiesBytes, maxBodies } = this.#limits;
    const maxBytes = Math.max(maxBodyBytes, maxChatBodyBytes);
    const bytes = limits.maxBodiesBytes ?? Math.max(maxBodiesBytes, maxBytes + SMALL_BODIES_BYTES);
    this.#memory = new BodyMemory(maxBodies, bytes, maxBytes, clock);
  }

  /**
   * The JSON value in a request's body.
   *
   * @param onBytes Called with the bytes of the body, which it must not keep.
   * @throws {StreamError} 415 for another media type, charset or coding; 413 past the limit, also
   * when chunked, or if it has more than 262,144 values; 408 if it does not arrive; 503 while too many
   * others arrive; 400 if it is empty, too deep, or not JSON in UTF-8.
   */
  async readJson(
    request: Request,
    kind: BodyKind,
    onBytes: (bytes: Uint8Array<ArrayBuffer>) => void = () => {},
  ): Promise<unknown> {
    checkMediaType(request.headers);
    const text = await this.#read(request, kind, (bytes) => {
      onBytes(bytes);
      try {
        return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      } catch (cause) {
        throw new StreamError("bad_request", { detail: "The body is not valid UTF-8", cause });
      }
    });
    if (text.trim() === "") throw new StreamError("bad_request", { detail: "The body is empty" });
    checkShape(text, this.#limits.maxBodyDepth);
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new StreamError("bad_request", { detail: "The body is not valid JSON", cause });
    }
  }

  /**
   * Reads a body that nobody needs, within its limits.
   *
   * @throws {StreamError} 413 past the limit, also when chunked; 408 if it does not arrive; 503 while
   * too many others arrive.
   */
  async skip(request: Request, kind: BodyKind): Promise<void> {
    await this.#read(request, kind, () => {});
  }

  /** Reads a body and gives its bytes to `take`; afterwards nothing of it is kept. */
  async #read<T>(
    request: Request,
    kind: BodyKind,
    take: (bytes: Uint8Array<ArrayBuffer>) => T,
  ): Promise<T> {
    const { body, headers } = request;
    const { maxBodyBytes, maxChatBodyBytes, bodyTimeoutMs } = this.#limits;
    const maxBytes = kind === "chat" ? maxChatBodyBytes : maxBodyBytes;
    const length = headers.get("content-length");
    if (Number(length ?? 0) > maxBytes) {
      body?.cancel().catch(() => {}); // Somebody else reads it, and it is theirs.
      throw tooLarge(maxBytes);
    }
    const buffer = new BodyBuffer(this.#memory, maxBytes, length === null ? NaN : Number(length));
    if (body === null) return take(buffer.bytes());
    const reader = readerOf(body);
    try {
      buffer.open(() => reader.cancel());
    } catch (error) {
      reader.cancel();
      throw error;
    }
    const expire = () => buffer.end(handlerError("request_timeout"));
    active.timers++;
    let timer = this.#clock.setTimer(expire, bodyTimeoutMs);
    let timedSize = TIMED_BYTES;
    try {
      for (let chunk = await reader.read(); chunk !== undefined; chunk = await reader.read()) {
        const room = buffer.append(chunk);
        if (room !== undefined) await waitFor(room, buffer, request.signal);
        else if (buffer.size < timedSize) continue;
        // A body that has waited has all its time again.
        this.#clock.clearTimer(timer);
        timer = this.#clock.setTimer(expire, bodyTimeoutMs);
        timedSize = buffer.size + TIMED_BYTES;
        buffer.progress();
      }
      if (buffer.failure !== undefined) throw buffer.failure;
      return take(buffer.bytes());
    } catch (error) {
      // What is refused is not read on.
      reader.cancel();
      if (error instanceof StreamError) throw error;
      throw buffer.failure ?? brokenOff(error);
    } finally {
      this.#clock.clearTimer(timer);
      active.timers--;
      buffer.release();
    }
  }
}

/** Waits for room, at most until the client disconnects. */
async function waitFor(room: Promise<void>, buffer: BodyBuffer, signal: AbortSignal) {
  const leave = () => buffer.end(brokenOff(signal.reason));
  if (signal.aborted) leave();
  signal.addEventListener("abort", leave);
  active.listeners++;
  try {
    await room;
  } finally {
    signal.removeEventListener("abort", leave);
    active.listeners--;
  }
}

function brokenOff(cause: unknown): StreamError {
  return new StreamError("bad_request", { detail: "The body broke off", cause });
}

/** Reads one body, chunk by chunk. */
interface ChunkReader {
  /** The next bytes, which the next read may overwrite; `undefined` at the end. */
  read(): Promise<Uint8Array | undefined>;
  /** Ends the body. If it cannot be ended any more, nothing is left to do. */
  cancel(): void;
}

/** A reader that reads into our own buffer where the runtime can; Deno can, Bun 1.4 cannot. */
function readerOf(body: ReadableStream<Uint8Array>): ChunkReader {
  let byob: ReadableStreamBYOBReader;
  try {
    byob = body.getReader({ mode: "byob" });
  } catch {
    // It is no byte stream.
    return defaultReader(body.getReader());
  }
  return byobReader(byob);
}

function defaultReader(reader: ReadableStreamDefaultReader<Uint8Array>): ChunkReader {
  return {
    read: async () => (await reader.read()).value,
    cancel: () => void reader.cancel().catch(() => {}),
  };
}

/**
 * Reads into one buffer again and again. Deno makes one of 64 KiB for each chunk otherwise, of one byte
 * too. Where the maker of a body ignores the pending request for bytes when it closes, as a framework
 * may, the read never ends (Streams Standard, section 4.7.3), but the reader knows that the body is
 * closed.
 */
function byobReader(reader: ReadableStreamBYOBReader): ChunkReader {
  let chunk: Uint8Array<ArrayBuffer> | undefined;
  let end = () => {};
  // The last bytes close the body before their read resolves, so that comes first. A body that fails
  // fails the read as well.
  reader.closed.then(() => setTimeout(() => end(), 0), () => {});
  return {
    async read() {
      const room = chunkAfter(chunk);
      chunk = await new Promise<typeof chunk>((resolve, reject) => {
        end = () => resolve(undefined);
        reader.read(room).then(({ done, value }) => resolve(done ? undefined : value), reject);
      });
      return chunk;
    },
    cancel: () => void reader.cancel().catch(() => {}),
  };
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
 * Limit of the values in a body. Each may take 100 bytes of memory for 3 bytes of text, `[],`: a body of
 * 32 MiB would take 1 GB, and more than a second of everybody's time, to be parsed.
 */
const MAX_VALUES = 2 ** 18;

/**
 * Checks how deep arrays and objects nest, and how many values there are, before anything is parsed.
 *
 * @throws {StreamError} 400 if it is nested too deep, 413 if it has too many values.
 */
function checkShape(json: string, maxDepth: number): void {
  let depth = 0;
  let values = 0;
  for (let i = 0; i < json.length; i++) {
    const char = json[i];
    // A picture is a single string of some MB.
    if (char === '"') i = endOfString(json, i + 1);
    else if (char === "]" || char === "}") depth--;
    else {
      const opens = char === "[" || char === "{";
      if (opens && ++depth > maxDepth) {
        throw new StreamError("bad_request", {
          detail: `The body is nested over ${maxDepth} deep`,
        });
      }
      if ((opens || char === ",") && ++values > MAX_VALUES) {
        throw handlerError("payload_too_large", { detail: `The limit is ${MAX_VALUES} values` });
      }
    }
  }
}

/** Where the string ends that goes on at `from`: at its quote, or at the end of a broken text. */
function endOfString(json: string, from: number): number {
  for (let end = json.indexOf('"', from); end >= 0; end = json.indexOf('"', end + 1)) {
    let escapes = 0;
    while (json[end - 1 - escapes] === "\\") escapes++;
    if (escapes % 2 === 0) return end;
  }
  return json.length;
}
