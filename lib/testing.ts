/**
 * `spillway/testing`: tools to test your own source without a server. `collect` reads any response
 * of Spillway, `script` makes a source that follows a script, and `eventStoreContract` checks a store
 * of your own. Separate from `mod.ts` so that no server bundles it.
 *
 * @module
 */
import {
  type Answer,
  type Body,
  EVENT_READERS,
  type EventFormat,
  readAnswer,
} from "./testing/answer.ts";
import { checkOptionNames } from "./option_names.ts";
import { joined } from "./values.ts";

export type { Answer, EventFormat };
export { FakeClock } from "./testing/fake_clock.ts";
export { eventStoreContract, type StoreCheck } from "./testing/store_contract.ts";
export type {
  AppendResult,
  EventStore,
  Producer,
  StoredPiece,
  StoredStream,
  StreamAppend,
  StreamPart,
  StreamRead,
} from "./replay/shared/event_store.ts";
export {
  fail,
  pause,
  script,
  type ScriptedSource,
  type ScriptOptions,
  type ScriptRun,
  stall,
  type Step,
  truncate,
} from "./testing/script.ts";

/** Options of {@linkcode collect}. */
export interface CollectOptions {
  /**
   * The format of an event stream. Set it where `text` might happen to be JSON, or where the
   * unnamed data of `json` is not an object. @default {detected from its headers and events}
   */
  format?: EventFormat;
  /**
   * Called after each chunk with what came so far; on `true` the client disconnects and the body is
   * cancelled. Everything is read anew each time, so use it for short responses.
   */
  until?: (answer: Answer) => boolean;
  /** A signal whose abort disconnects the client, for a response that may send nothing more. */
  signal?: AbortSignal;
  /** Bytes of the longest body, an integer of 1 or more. @default {64 MiB} */
  maxBytes?: number;
}

/**
 * Reads a response to its end, in any format, and returns what a client would know of it.
 *
 * Waits as long as the source does: for a source that may wait for ever, pass a `signal`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sse } from "spillway";
 * import { collect } from "spillway/testing";
 *
 * const request = new Request("http://localhost/");
 * const answer = await collect(sse(request, ["Hel", "lo", { event: "note", data: 1 }]));
 * assert.equal(answer.text, "Hello");
 * assert.equal(answer.end, "completed");
 * assert.deepEqual(answer.items, ["Hel", "lo", { event: "note", data: 1 }]);
 * ```
 *
 * @returns What came, also if it is a failure or an error response, or if the body breaks off or
 * was left.
 * @throws {RangeError} If the body is larger than `maxBytes`, or `maxBytes` is out of its bounds.
 * @throws {TypeError} If the body has been read, or `format` is not one of the names.
 * @throws Whatever the promise of a response rejects with.
 */
export async function collect(
  response: Response | Promise<Response>,
  options: CollectOptions = {},
): Promise<Answer> {
  checkOptionNames("Cannot collect", options, ["format", "until", "signal", "maxBytes"]);
  const { format, until, signal, maxBytes = 64 * 1024 * 1024 } = options;
  if (!Number.isInteger(maxBytes) || maxBytes < 1) {
    throw new RangeError("Cannot collect the answer: maxBytes is not an integer of 1 or more");
  }
  if (format !== undefined && !Object.hasOwn(EVENT_READERS, format)) {
    throw new TypeError(`Cannot collect the answer: there is no event stream format ${format}`);
  }
  const answered = await response;
  if (answered.bodyUsed || answered.body?.locked) {
    throw new TypeError("Cannot collect the answer: its body has been read");
  }
  const chunks: Uint8Array[] = [];
  const answerAt = (end: Body["end"]) =>
    readAnswer(answered, { bytes: joined(chunks), end }, format);
  const enough = until && (() => until(answerAt("left")));
  return answerAt(await readChunks(answered, chunks, maxBytes, signal, enough));
}

async function readChunks(
  { body }: Response,
  chunks: Uint8Array[],
  maxBytes: number,
  signal: AbortSignal | undefined,
  enough: (() => boolean) | undefined,
): Promise<Body["end"]> {
  if (body === null) return "complete";
  const reader = body.getReader();
  // If the cancel fails, the pending read reports it.
  const leave = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", leave);
  if (signal?.aborted) leave();
  try {
    for (let size = 0;;) {
      // The error depends on the runtime; a client knows only that the body broke off.
      const read = await reader.read().catch(() => undefined);
      if (read?.value !== undefined) {
        size += read.value.length;
        if (size > maxBytes) {
          throw new RangeError(
            `Cannot collect the answer: its body has more than ${maxBytes} bytes`,
          );
        }
        chunks.push(read.value);
      }
      if (signal?.aborted) return "left";
      if (read === undefined) return "broken";
      if (read.done) return "complete";
      if (enough?.()) return "left";
    }
  } finally {
    signal?.removeEventListener("abort", leave);
    leave();
  }
}
