/**
 * `spillway/testing`: what the tests of your own source need, without a server. `collect` reads
 * whatever Spillway answers, `script` makes a source that does as it is told. It stands apart from
 * `mod.ts` so that no server carries it.
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

export type { Answer, EventFormat };
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
   * How an event stream is written. @default {what its head and its events say} Give it where it
   * matters for `text` that might happen to be JSON, or `json` whose unnamed data is no object.
   */
  format?: EventFormat;
  /**
   * Asked after each chunk with what came so far; `true` is the reader's departure: the body is
   * cancelled. The whole is read anew each time, so it is for short answers.
   */
  until?: (answer: Answer) => boolean;
  /** Its abort is the reader's departure as well, for an answer of which nothing more may come. */
  signal?: AbortSignal;
  /** Bytes of the longest body, an integer of 1 or more. @default {64 MiB} */
  maxBytes?: number;
}

/**
 * Reads an answer to its end, in whichever format it is, and tells what its reader would know.
 *
 * It waits as long as the source does: a source that may wait for ever wants a `signal`.
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
 * @returns What came, also of a failure, a refusal, or a body that breaks off or was left.
 * @throws {RangeError} If the body is larger than `maxBytes`, or `maxBytes` is out of its bounds.
 * @throws {TypeError} If the body has been read, or `format` is not one of the names.
 * @throws Whatever the promise of a response rejects with.
 */
export async function collect(
  response: Response | Promise<Response>,
  options: CollectOptions = {},
): Promise<Answer> {
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
  // That the body has ended or broken is told by the read.
  const leave = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", leave);
  if (signal?.aborted) leave();
  try {
    for (let size = 0;;) {
      // How it broke is the runtime's affair; that it broke is all that a reader knows.
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

function joined(chunks: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
