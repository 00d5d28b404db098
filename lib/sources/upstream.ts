/**
 * Reading somebody else's event stream: its head is checked, its connection counted and closed, its
 * pace our reader's. It stands apart from the pump because every relaying source needs it.
 */
import { active } from "../counters.ts";
import { StreamError, upstreamFailed } from "../error.ts";
import { accepted } from "../pipeline/queue.ts";
import { EventDecoder, type EventDecoderOptions } from "../sse/decode.ts";
import type { ServerSentEvent } from "../sse/event.ts";

/**
 * Gives every event to `take` until that answers `last`, a `send` answers `false`, the signal aborts,
 * or the body ends. Nothing is read while a `send` waits. In the end the connection is closed.
 *
 * @returns Whether `take` has seen the last event.
 * @throws {StreamError} `bad_upstream` if this is no event stream; the decoder's; `truncated` if the
 * connection breaks.
 */
export async function readUpstream(
  response: Response,
  signal: AbortSignal,
  take: (event: ServerSentEvent) => Promise<boolean> | "last" | undefined,
  limits: EventDecoderOptions = {},
): Promise<boolean> {
  const type = response.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (response.status !== 200 || type !== "text/event-stream" || response.body === null) {
    discard(response);
    throw new StreamError("bad_upstream", {
      cause: new Error(`The upstream answered ${response.status} ${type ?? "without a type"}`),
    });
  }
  const reader = readerOf(response, response.body);
  // That the connection had already gone is no news to anybody here.
  const close = () => void reader.cancel().catch(() => {});
  active.upstreams++;
  active.listeners++;
  signal.addEventListener("abort", close);
  if (signal.aborted) close();
  try {
    const decoder = new EventDecoder(limits);
    for (;;) {
      let read: Awaited<ReturnType<ChunkReader["read"]>>;
      try {
        read = await reader.read();
      } catch (cause) {
        if (signal.aborted) return false;
        throw new StreamError("truncated", { cause });
      }
      if (read.done) return false;
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

/** As much of a stream's reader as is used. */
interface ChunkReader {
  /** The chunk is good until the next call. */
  read(): Promise<ReadableStreamReadResult<Uint8Array>>;
  cancel(): Promise<void>;
}

/** Bytes of the buffer that is read into. */
const CHUNK_BYTES = 16 * 1024;

/**
 * Reads what was fetched into one buffer over and over where the runtime can: Deno makes one of 64 KiB for each
 * chunk otherwise, which takes it four times as long (benchmark case: relay, a chunk a token). A body that was
 * made by hand has no URL, and is not read so: where its maker forgets the request for bytes that is under way
 * when it closes, such a read never ends (Streams Standard, section 4.7.3).
 */
function readerOf({ url }: Response, body: ReadableStream<Uint8Array>): ChunkReader {
  if (url === "") return body.getReader();
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch {
    // Bun's are no byte streams.
    return body.getReader();
  }
  let buffer = new ArrayBuffer(CHUNK_BYTES);
  return {
    cancel: () => reader.cancel(),
    async read() {
      const read = await reader.read(new Uint8Array(buffer));
      if (read.value === undefined || read.done) return { done: true, value: undefined };
      buffer = read.value.buffer;
      return read;
    },
  };
}

/** Closes a response that nobody wants to read: whatever it holds is not for our reader. */
export function discard(response: Response): void {
  response.body?.cancel().catch(() => {});
}

/**
 * Whether an event is the end of a stream: `[DONE]` or Spillway's `done`.
 *
 * @throws {StreamError} `upstream_failed` if it is a failure.
 */
export function isLast({ event, data }: ServerSentEvent): boolean {
  if (event === "failed" || event === "error") throw upstreamFailed(data);
  return data === "[DONE]" || event === "done";
}
