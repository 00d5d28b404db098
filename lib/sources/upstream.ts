/**
 * Reads an upstream's event stream at our reader's pace: its response is checked, its connection
 * counted and closed. Separate from the pump because every relaying source needs it.
 */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import { accepted } from "../pipeline/queue.ts";
import { EventDecoder, type EventDecoderOptions } from "../sse/decode.ts";
import type { ServerSentEvent } from "../sse/event.ts";

/**
 * Passes every event to `take` until `take` returns `last`, a `send` resolves to `false`, the
 * signal aborts, or the body ends. Nothing is read while a `send` waits. At the end the connection
 * is closed.
 *
 * @returns Whether `take` has returned `last`.
 * @throws {StreamError} `bad_upstream` if the response is not an event stream; an error of the
 * decoder; `truncated` if the connection breaks.
 */
export async function readUpstream(
  response: Response,
  signal: AbortSignal,
  take: TakeEvent,
  limits: EventDecoderOptions = {},
): Promise<boolean> {
  const type = mediaTypeOf(response);
  if (response.status !== 200 || type !== "text/event-stream") {
    discard(response);
    throw new StreamError("bad_upstream", {
      cause: new Error(`The upstream answered ${response.status} ${type ?? "without a type"}`),
    });
  }
  return await readEvents(response, signal, take, limits);
}

/** The media type of a response, without parameters; `undefined` if it has none. */
export function mediaTypeOf({ headers }: Response): string | undefined {
  return headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
}

/** Takes an event; `last` ends the reading, a promise that resolves to `false` as well. */
export type TakeEvent = (event: ServerSentEvent) => Promise<boolean> | "last" | undefined;

/**
 * The same for a response that was checked already.
 *
 * @param onBytes Called with each piece of the body that arrives, before its events are taken.
 */
export async function readEvents(
  response: Response,
  signal: AbortSignal,
  take: TakeEvent,
  limits: EventDecoderOptions = {},
  onBytes?: () => void,
): Promise<boolean> {
  if (response.body === null) {
    throw new StreamError("bad_upstream", { cause: new Error("The upstream sent no body") });
  }
  const reader = readerOf(response, response.body);
  // If the connection is closed already, the cancel fails, and nothing is left to do.
  const close = () => void reader.cancel().catch(() => {});
  active.upstreams++;
  active.listeners++;
  signal.addEventListener("abort", close);
  if (signal.aborted) close();
  try {
    const decoder = new EventDecoder(limits);
    let buffer = new ArrayBuffer(reader instanceof ReadableStreamBYOBReader ? CHUNK_BYTES : 0);
    for (;;) {
      let read: Awaited<ReturnType<ChunkReader["read"]>>;
      try {
        read = await reader.read(new Uint8Array(buffer));
      } catch (cause) {
        if (signal.aborted) return false;
        throw new StreamError("truncated", { cause });
      }
      if (read.done) return false;
      ({ buffer } = read.value);
      onBytes?.();
      const events: ServerSentEvent[] = [];
      let failure: StreamError | undefined;
      try {
        decoder.feed(read.value, events);
      } catch (cause) {
        failure = cause instanceof StreamError
          ? cause
          : new StreamError("upstream_failed", { cause });
      }
      for (const event of events) {
        const answer = take(event);
        if (answer === "last") return true;
        if (answer !== undefined && !accepted(answer) && !(await answer)) return false;
      }
      if (failure !== undefined) throw failure;
    }
  } finally {
    signal.removeEventListener("abort", close);
    active.listeners--;
    active.upstreams--;
    close();
  }
}

/** The methods of a stream's reader that are used. */
interface ChunkReader {
  /** Reads a chunk, into the buffer of `into` where the runtime can. */
  read(into: Uint8Array<ArrayBuffer>): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>>;
  cancel(): Promise<void>;
}

/** Size of the buffer that is read into, in bytes. */
const CHUNK_BYTES = 16 * 1024;

/**
 * A reader that reads what was fetched into one buffer again and again, where the runtime can.
 * Otherwise Deno allocates 64 KiB for each chunk, which takes it four times as long (benchmark
 * case: relay, a chunk a token). A body that was made by hand has no URL and is not read this way:
 * if its maker ignores the pending request for bytes when it closes, such a read never ends
 * (Streams Standard, section 4.7.3).
 */
function readerOf(
  { url }: Response,
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
): ChunkReader {
  if (url === "") return body.getReader();
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    // On Bun fetched bodies are not byte streams.
    return body.getReader();
  }
}

/** Closes a response that will not be read: its content must not reach our client. */
export function discard(response: Response): void {
  response.body?.cancel().catch(() => {});
}
