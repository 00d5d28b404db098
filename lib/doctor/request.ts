/**
 * One request on a connection of its own, and when each part of its response arrived. `node:http` and
 * not `fetch`: a `fetch` decompresses out of sight, shares connections, and may wait for a free one.
 */
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { Readable } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate } from "node:zlib";
import { EventDecoder } from "../sse/decode.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { parseJson } from "../values.ts";

/** A request. */
export interface Call {
  readonly url: URL;
  readonly method: string;
  /** By name, in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

/** An event, or a line of a body that is no event stream. */
export interface Received {
  /** When it had arrived in full, in ms after the request began. */
  readonly atMs: number;
  /** The event name; that of a line of NDJSON is its member `event`. */
  readonly event: string;
  readonly data: string;
}

/** What a request has led to. */
export interface Observation {
  /** 0 if there was no response. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly received: readonly Received[];
  /** When the first and the last bytes of the body arrived; `undefined` if there were none. */
  readonly firstMs: number | undefined;
  readonly lastMs: number | undefined;
  readonly endMs: number;
  /** `complete` as HTTP has it, `cut` by an error or a closed connection, or ended at a limit of ours. */
  readonly ending: "complete" | "cut" | "limit";
  /** Why there was no response. */
  readonly error: string | undefined;
  /** The body of a response whose status is not 200, its first 64 KiB. */
  readonly text: string;
}

/** The content codings that {@linkcode ask} can read, as browsers send them. */
export const CODINGS = "gzip, deflate, br";

/** Events and lines that are kept; no model sends as many while it is asked. */
const MAX_RECEIVED = 20_000;
/** Characters of a body that are kept where it is no stream. */
const MAX_TEXT = 65_536;
/** The longest line of a body that is no event stream, in characters; that of an event is the decoder's. */
const MAX_LINE = 2 ** 20;

/** Sends a request, and reads its response for `limitMs` at most. Never rejects. */
export function ask(call: Call, limitMs: number): Promise<Observation> {
  return new Promise((resolve) => {
    const { url, method, headers, body } = call;
    const begunMs = performance.now();
    const now = () => performance.now() - begunMs;
    const reading = new Reading(now);
    const request = url.protocol === "https:" ? requestHttps : requestHttp;
    const length = body === undefined
      ? {}
      : { "content-length": String(new TextEncoder().encode(body).length) };
    const sent = request(url, { method, headers: { ...headers, ...length }, agent: false });
    const timer = setTimeout(() => end("limit"), limitMs);

    /** Ends the request, whatever comes first; what follows is ignored. */
    function end(ending: Observation["ending"], error?: Error & { code?: string }): void {
      clearTimeout(timer);
      sent.destroy();
      resolve(reading.observation(ending, error && (error.code ?? error.message)));
    }

    sent.on("response", (response) => {
      reading.begin(response);
      const decoded = decompressed(response);
      decoded.on("data", (chunk: Uint8Array) => reading.take(chunk) || end("limit"));
      decoded.on("end", () => end("complete"));
      decoded.on("error", () => end("cut"));
      response.on("error", () => end("cut"));
    });
    sent.on("error", (error) => end("cut", error));
    sent.end(body);
  });
}

function decompressed(response: IncomingMessage): Readable {
  switch (response.headers["content-encoding"]?.toLowerCase()) {
    case "gzip":
      return response.pipe(createGunzip());
    case "deflate":
      return response.pipe(createInflate());
    case "br":
      return response.pipe(createBrotliDecompress());
    default:
      return response;
  }
}

/** Whether a response says that it is an event stream; capitals are as good. */
export function isEventStream(headers: Observation["headers"]): boolean {
  return /^text\/event-stream\b/i.test(headers["content-type"] ?? "");
}

/** What has arrived so far. */
class Reading {
  readonly #now: () => number;
  readonly #events = new EventDecoder();
  readonly #received: Received[] = [];
  readonly #text = new TextDecoder();
  #headers: Record<string, string> = {};
  #status = 0;
  #firstMs: number | undefined;
  #lastMs: number | undefined;
  /** The unfinished line, or the body of an error. */
  #rest = "";

  constructor(now: () => number) {
    this.#now = now;
  }

  begin({ statusCode = 0, headers }: IncomingMessage): void {
    this.#status = statusCode;
    this.#headers = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, String(value)]),
    );
  }

  /** Reads what has arrived. Returns whether more can be read. */
  take(chunk: Uint8Array): boolean {
    const atMs = this.#now();
    this.#firstMs ??= atMs;
    this.#lastMs = atMs;
    if (this.#status === 200 && isEventStream(this.#headers)) return this.#decode(chunk, atMs);
    const text = this.#text.decode(chunk, { stream: true });
    if (this.#status !== 200) {
      if (this.#rest.length < MAX_TEXT) this.#rest = (this.#rest + text).slice(0, MAX_TEXT);
      return true;
    }
    const lines = text.split("\n");
    // The rest is not searched again, so a long line in many chunks takes linear time.
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop()!;
    for (const data of lines) {
      const { event = "message" } = (parseJson(data) ?? {}) as { event?: string };
      this.#received.push({ atMs, event, data });
    }
    return this.#rest.length <= MAX_LINE && this.#received.length < MAX_RECEIVED;
  }

  #decode(chunk: Uint8Array, atMs: number): boolean {
    const events: ServerSentEvent[] = [];
    let isValid = true;
    try {
      this.#events.feed(chunk, events);
    } catch {
      isValid = false; // An event or a line is too large; what came before it counts.
    }
    for (const { event, data } of events) this.#received.push({ atMs, event, data });
    return isValid && this.#received.length < MAX_RECEIVED;
  }

  observation(ending: Observation["ending"], error: string | undefined): Observation {
    return {
      status: this.#status,
      headers: this.#headers,
      received: this.#received,
      firstMs: this.#firstMs,
      lastMs: this.#lastMs,
      endMs: this.#now(),
      ending,
      error,
      text: this.#status === 200 ? "" : this.#rest,
    };
  }
}
