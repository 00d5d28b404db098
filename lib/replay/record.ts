/**
 * A generation that is recorded, and its first reader. Separate from `sse` so that this code is in a
 * program only with a log.
 */
import { type ClosableRequest, CLOSE_SOON } from "../http/connection.ts";
import { problemOf, publicError, type StreamError } from "../error.ts";
import { commentHeartbeat, type Format, type FormatContext } from "../formats/format.ts";
import type { LoggedOptions, OpenStream, RecordedExtras, Respond } from "../http/replay_log.ts";
import type { ByteProducer } from "../pipeline/byte_producer.ts";
import { Generation, type GenerationInit, type GenerationOptions } from "../pipeline/generation.ts";
import { release } from "../pipeline/pump.ts";
import { checkLimits } from "../pipeline/queue.ts";
import { type ReaderOptions, TokenStream } from "../pipeline/stream.ts";
import { EventWriter } from "../sse/encode.ts";
import { EventIds } from "../sse/event_ids.ts";
import { createStreamId } from "../stream_id.ts";
import type { EventLog, ReaderFrames, Recorder } from "./event_log.ts";
import { HEARTBEAT } from "./event_pages.ts";
import { count, totals } from "../totals.ts";

/**
 * Starts a generation that `log` records, with the sender of its request as its first reader.
 *
 * @throws {StreamError} If the log takes no stream, or if the generation fails before its first item.
 */
export async function openLogged(
  log: EventLog,
  init: GenerationInit,
  options: ReaderOptions & GenerationOptions & LoggedOptions,
  { observer, run, isBackground = false }: RecordedExtras,
  respond: Respond,
): Promise<Response> {
  const { request, format } = init;
  const { disconnect = { continueForMs: 10_000 } } = options;
  const streamId = init.streamId ?? createStreamId();
  const opened = new RecordedStream(observer);
  const stream = opened.stream = new TokenStream({ request, options, owner: opened });
  let recorder: Recorder | undefined;
  /** Ends both, where the generation was never started. */
  function forget(recorder: Recorder): void {
    recorder.discard();
    opened.onEnd();
  }
  let isOpen = false;
  let producer: ByteProducer;
  try {
    observer?.onOpen?.(opened);
    isOpen = true;
    recorder = opened.recorder = log.record({
      streamId,
      format: format.name,
      headers: format.headers ?? {},
      owner: options.owner,
      chatId: options.chatId,
      run,
    }, {
      highWaterMark: checkLimits(options).highWaterMark,
      isBackground,
      continueForMs: isBackground || disconnect === "continue"
        ? Infinity
        : disconnect === "cancel"
        ? 0
        : disconnect.continueForMs,
      format,
      owner: opened,
    });
    producer = recorder.follow(0, stream, new FormatFrames(format, { request, streamId }));
  } catch (error) {
    if (recorder !== undefined) forget(recorder);
    else if (isOpen) {
      count(totals.logRejections, publicError(error).code);
      observer?.onEnd?.(opened);
    }
    release(init.source, error);
    throw error;
  }
  let generation: Generation;
  try {
    const ids = new EventIds(streamId, format.retryMs, format.ids === false);
    generation = new Generation({ ...init, streamId }, recorder, ids);
  } catch (error) {
    forget(recorder);
    throw error;
  }
  const { start } = recorder;
  return await stream.open(
    producer,
    () => start.call(recorder, generation),
    (body) => respond(body, streamId),
  );
}

/**
 * A generation and its first reader, either of which may end first: the generation may go on without
 * its reader, and the reader may still have to take what there is. Holds nothing else of their start,
 * on Bun half a KB.
 */
class RecordedStream implements OpenStream {
  recorder: Recorder | undefined;
  stream: TokenStream | undefined;
  readonly #observer: RecordedExtras["observer"];
  /** How many of the two have yet to end. */
  #left = 2;

  constructor(observer: RecordedExtras["observer"]) {
    this.#observer = observer;
  }

  shutDown(error: StreamError): void {
    this.recorder?.shutDown(error);
    this.stream?.shutDown();
  }

  /** Called by each of the two. */
  onEnd(): void {
    if (--this.#left === 0) this.#observer?.onEnd?.(this);
  }
}

/** What a format writes for one reader, beside the events of the log. */
export class FormatFrames implements ReaderFrames {
  readonly #format: Format;
  readonly #context: FormatContext;

  constructor(format: Format, context: FormatContext) {
    this.#format = format;
    this.#context = context;
  }

  /** Closes the connection of a reader that was dropped, where the runtime lets us. */
  closeSoon(): void {
    (this.#context.request as ClosableRequest)[CLOSE_SOON]?.();
  }

  heartbeat(lastEvent: number): Uint8Array {
    const { heartbeat } = this.#format;
    if (heartbeat === undefined || heartbeat === commentHeartbeat) return HEARTBEAT;
    const out = new EventWriter();
    heartbeat(out, { streamId: this.#context.streamId, lastEvent });
    return out.take();
  }

  fail(error: StreamError, lastEvent: number, isFinal: boolean): Uint8Array | undefined {
    const { streamId } = this.#context;
    const framer = this.#format.open(this.#context);
    if (framer.fail === undefined) return undefined;
    const out = new EventWriter();
    const problem = problemOf(error);
    if (!isFinal) problem.resume = true;
    // The id says `lost`, because the lost process may have sent the client further events.
    else if (this.#format.ids !== false) out.mark(`${streamId}.${lastEvent}.lost`);
    framer.fail(out, problem, { streamId, lastEvent });
    return out.take();
  }
}
