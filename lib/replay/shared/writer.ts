/**
 * Writes the generations of this process to Redis in batches, and counts readers elsewhere among
 * their readers. Separate from the recording because a generation and its readers here never wait
 * for any of this.
 */
import { StreamError } from "../../error.ts";
import { unref } from "../../pipeline/scheduler.ts";
import type { ReaderFrames } from "../event_log.ts";
import type { EventPage } from "../event_pages.ts";
import type { Recording, Subscriber } from "../recording.ts";
import type { RedisLink } from "../redis/link.ts";
import type { PeerChannel, PeerMessage } from "./peers.ts";
import { type Append, type Appended, LEASE_MS, type RedisScripts } from "../redis/store.ts";

/** The description of a stream for its readers in other processes. */
export interface RemoteInfo {
  format: string;
  headers: Record<string, string>;
  owner?: string | undefined;
  chatId?: string | undefined;
  /** The failures that end a reader, in the stream's format. */
  fail: Record<string, string>;
  /** The failure that ends a stream whose process is gone, without ids. */
  lost: string;
}

/** What a writer calls. No method may throw. */
export interface LogWriterOwner {
  /** Called when all of a recording is in Redis, or never will be. */
  release(recording: Recording): void;
  /** Called when another process reads, or would stop, a stream that this process does not have. */
  unknownStream(streamId: string): void;
  report(error: unknown): void;
}

/**
 * The shortest time between two writes of a stream, in ms. At most twenty writes a second for a
 * stream that is read elsewhere, or that has ended; two for any other, which loses so much more if
 * its process is killed. Twenty for each made a token take Deno half as long again (benchmark case:
 * redis, paced).
 */
const READ_MS = 50;
const UNREAD_MS = 500;
/** Unwritten bytes from which a stream is written as often as one that is read elsewhere. */
const AWAITED_BYTES = 64 * 1024;
/**
 * How often due streams are looked for, and how many of them are written at once: more would delay
 * the others.
 */
const TICK_MS = 25;
const TICK_STREAMS = 16;
const TICK_SHARE = 1 / 10;
/** The most that is written to Redis in one command, in bytes. */
const BATCH_BYTES = 256 * 1024;
const BATCH_STREAMS = 50;
/**
 * The most that is on its way to Redis in all, in bytes. Stream ids are not counted and never
 * delayed. More would wait in the client, which has no limit, and on a busy core for so long that
 * Redis would seem to be down: node-redis on Deno sends and receives one piece per turn of the
 * event loop.
 */
const FLIGHT_BYTES = 4 * 1024 * 1024;
/**
 * The longest time between two writes of a stream, in ms: for its expiry, and to notice if Redis
 * has lost it.
 */
const TOUCH_MS = 3000;
/**
 * The silence after which a reader elsewhere counts as gone, in ms; during and just after an outage
 * of Redis it is a minute.
 */
const SUBSCRIBER_MS = 6000;
const SUBSCRIBER_OUTAGE_MS = 60_000;
const NEVER = -Infinity;
/** Codes of the failures that a reader in another process may get. */
const FAILURES = [
  new StreamError("lagged"),
  new StreamError("log_unavailable"),
  new StreamError("shutting_down"),
  new StreamError("bad_request", { detail: "Last-Event-ID is past the end" }),
];

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The readers that another process has of a recording: one subscriber for all of them. */
class RemoteSubscriber implements Subscriber {
  readonly #recording: Recording;
  /** The last event that the fastest of these readers has. */
  #event = 0;
  position = 0;
  seenMs = 0;

  constructor(recording: Recording) {
    this.#recording = recording;
  }

  get page(): EventPage {
    return this.#recording.pages.pageAfter(this.#event);
  }

  moveTo(event: number): void {
    this.#event = event;
    this.position = this.#recording.pages.positionAfter(event);
    this.seenMs = performance.now();
  }

  /** Does nothing: these readers are woken after each write. */
  run(): void {}
}

/** A recording and how much of it is in Redis. */
interface StreamState {
  readonly recording: Recording;
  readonly frames: ReaderFrames;
  /** Whether Redis has the stream. */
  isKnown: boolean;
  /** The last event that Redis has; `position` is where it ends, in bytes of the stream. */
  event: number;
  position: number;
  writtenMs: number;
  isWriting: boolean;
  readonly subscribers: Map<string, RemoteSubscriber>;
}

/** One write of a stream, and how far Redis is after it. */
interface PendingAppend {
  stream: StreamState;
  append: Append;
  position: number;
  bytes: number;
}

export class LogWriter {
  readonly #link: RedisLink;
  readonly #scripts: RedisScripts;
  readonly #peers: PeerChannel;
  readonly #owner: LogWriterOwner;
  readonly #streams = new Map<string, StreamState>();
  readonly #dirty = new Set<StreamState>();
  /** Whether a new stream's id is on its way. */
  #isAnnouncing = false;
  /** Bytes of events that Redis has not confirmed. */
  #inFlight = 0;
  /** Whether a stream is due and there was no room for it. */
  #isHeldUp = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(link: RedisLink, scripts: RedisScripts, peers: PeerChannel, owner: LogWriterOwner) {
    this.#link = link;
    this.#scripts = scripts;
    this.#peers = peers;
    this.#owner = owner;
  }

  /** Whether something is still to be written. */
  get isBehind(): boolean {
    for (const stream of this.#streams.values()) {
      const { isOver, lastEvent } = stream.recording;
      if (isOver || !stream.isKnown || stream.event < lastEvent) return true;
    }
    return false;
  }

  /** Whether Redis has a stream of this process. */
  isKnown(streamId: string): boolean {
    return this.#streams.get(streamId)?.isKnown === true;
  }

  /**
   * Adds a recording. Its id is written at once, or with the next tick, because a client that knows
   * it may ask for the stream elsewhere.
   */
  add(recording: Recording, frames: ReaderFrames): void {
    const stream: StreamState = {
      recording,
      frames,
      isKnown: false,
      event: 0,
      position: 0,
      writtenMs: NEVER,
      isWriting: false,
      subscribers: new Map(),
    };
    this.#streams.set(recording.info.streamId, stream);
    this.#dirty.add(stream);
    // Of a thousand streams that begin together, each would wait for the commands of all before it.
    if (this.#isAnnouncing) return this.#arm();
    if (!this.#link.isUp) return;
    this.#isAnnouncing = true;
    queueMicrotask(() => this.#writeStreams([stream]).finally(() => this.#isAnnouncing = false));
  }

  /** Called when there is something to be written of a recording. */
  touch(recording: Recording): void {
    const stream = this.#streams.get(recording.info.streamId);
    if (stream === undefined) return;
    this.#dirty.add(stream);
    this.#arm();
  }

  /** Called when a recording is held no longer. */
  drop(recording: Recording): void {
    const stream = this.#streams.get(recording.info.streamId);
    if (stream?.recording !== recording) return;
    this.#streams.delete(recording.info.streamId);
    this.#dirty.delete(stream);
  }

  /** Removes a recording that no client knows of; what was written of it is deleted. */
  forget(recording: Recording): void {
    const { streamId, owner, chatId } = recording.info;
    const stream = this.#streams.get(streamId);
    if (stream?.recording !== recording || stream.writtenMs === NEVER) return;
    this.#scripts.forget(streamId, owner, chatId).catch(() => {
      // Redis is down: a process that asks for the stream will find that it is no longer made.
    });
  }

  /** Called after an outage: Redis may have lost anything. */
  recover(): void {
    for (const { recording } of this.#streams.values()) this.touch(recording);
  }

  /** Called each second. */
  tick(nowMs: number): void {
    const isSteady = this.#link.wasUpFor(LEASE_MS);
    for (const { recording, writtenMs, subscribers } of this.#streams.values()) {
      if (nowMs - writtenMs >= TOUCH_MS) this.touch(recording);
      for (const [process, subscriber] of subscribers) {
        if (nowMs - subscriber.seenMs < (isSteady ? SUBSCRIBER_MS : SUBSCRIBER_OUTAGE_MS)) continue;
        subscribers.delete(process);
        recording.leave(subscriber);
      }
    }
  }

  /** Handles a message of another process about streams of this one. */
  hear({ from, here, gone, stop }: PeerMessage): void {
    for (const streamId of gone) this.#leave(streamId, from);
    for (const [streamId, event] of here) this.#subscribe(streamId, from, event);
    for (const [streamId, reason] of stop) {
      const stream = this.#streams.get(streamId);
      if (stream === undefined) this.#owner.unknownStream(streamId);
      else stream.recording.stop(reason || undefined);
    }
  }

  /** Writes everything that is there, due or not. */
  async write(): Promise<void> {
    await this.#writeStreams(this.#dirty);
  }

  /** Writes streams. Two writes of one stream never overlap. */
  async #writeStreams(streams: Iterable<StreamState>): Promise<void> {
    await Promise.all(this.#batches(streams).map((batch) => this.#write(batch)));
    this.#peers.send();
  }

  close(): void {
    // Messages from elsewhere no longer arrive, and a generation must not go on for those readers.
    for (const { recording, subscribers } of this.#streams.values()) {
      for (const subscriber of subscribers.values()) recording.leave(subscriber);
    }
    this.#streams.clear();
    this.#dirty.clear();
    // Last, because what ends here may have set the timer.
    clearTimeout(this.#timer);
  }

  #arm(): void {
    if (this.#timer !== undefined || !this.#link.isUp) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#writeStreams(this.#due(Math.max(TICK_STREAMS, this.#dirty.size * TICK_SHARE)));
      if (this.#dirty.size > 0) this.#arm();
    }, TICK_MS);
    unref(this.#timer);
  }

  /** The streams that are to be written now; at most `share` of those that nobody waits for. */
  *#due(share: number): Iterable<StreamState> {
    const nowMs = performance.now();
    for (const stream of this.#dirty) {
      if (stream.isWriting) continue;
      const { recording, position } = stream;
      const isAwaited = !stream.isKnown || stream.subscribers.size > 0 || recording.isOver ||
        recording.pages.bytes - position >= AWAITED_BYTES;
      // A timer may be a little early.
      if (nowMs - stream.writtenMs < (isAwaited ? READ_MS : UNREAD_MS) - 1) continue;
      if (isAwaited || share-- > 0) yield stream;
    }
  }

  /** Packs streams into batches that are small enough not to delay other commands. */
  #batches(streams: Iterable<StreamState>): PendingAppend[][] {
    const batches: PendingAppend[][] = [];
    let batchBytes = Infinity;
    this.#isHeldUp = false;
    const nowMs = performance.now();
    for (const stream of streams) {
      // The stream may have been dropped since it was chosen.
      if (stream.isWriting || !this.#dirty.has(stream)) continue;
      const isFull = this.#inFlight >= FLIGHT_BYTES;
      if (isFull) {
        this.#isHeldUp = true;
        // Its client may ask for it elsewhere, so its id is written ahead, without its events.
        if (stream.isKnown) continue;
      }
      this.#dirty.delete(stream);
      stream.recording.collected();
      if (batchBytes > BATCH_BYTES || batches.at(-1)!.length >= BATCH_STREAMS) {
        batches.push([]);
        batchBytes = 0;
      }
      stream.writtenMs = nowMs;
      stream.isWriting = true;
      const pending = this.#pack(stream, isFull ? 0 : BATCH_BYTES);
      batches.at(-1)!.push(pending);
      batchBytes += pending.bytes;
      this.#inFlight += pending.bytes;
    }
    return batches;
  }

  /** The complete events that Redis does not have, by pages as they are held, up to `limit` bytes. */
  #pack(stream: StreamState, limit: number): PendingAppend {
    const { recording, isKnown } = stream;
    let { event, position } = stream;
    let bytes = 0;
    const pieces: Append["pieces"] = [];
    for (
      let page: EventPage | undefined = recording.pages.head;
      page !== undefined && bytes < limit;
      page = page.after
    ) {
      const from = Math.max(position - page.start, 0);
      if (from >= page.length) continue;
      // Events that were dropped before they were written are a gap, which readers notice.
      if (from === 0) event = page.first - 1;
      const last = page.next - 1;
      const part = page.bytes.subarray(from, page.length);
      pieces.push({ first: event + 1, last, text: decoder.decode(part) });
      bytes += part.length;
      event = last;
      position = page.start + page.length;
    }
    const { streamId, owner, chatId } = recording.info;
    const isWhole = recording.isOver && event === recording.lastEvent;
    const append: Append = {
      streamId,
      owner,
      chatId,
      info: isKnown ? "" : this.#describe(stream),
      first: recording.firstEvent,
      final: event,
      end: isWhole ? recording.endEvent : undefined,
      pieces,
    };
    return { stream, append, position, bytes };
  }

  async #write(batch: readonly PendingAppend[]): Promise<void> {
    let replies: Appended[];
    try {
      replies = await this.#scripts.append(batch.map(({ append }) => append));
    } catch (error) {
      // The link has reported its own errors, and retries; an error in a reply is reported here.
      if (!(error instanceof StreamError)) this.#owner.report(error);
      for (const { stream } of batch) this.touch(stream.recording);
      return;
    } finally {
      for (const { stream, bytes } of batch) {
        stream.isWriting = false;
        this.#inFlight -= bytes;
      }
    }
    batch.forEach((pending, i) => this.#settle(pending, replies[i]!));
    if (this.#isHeldUp) this.#writeStreams(this.#due(0));
  }

  #settle({ stream, append, position }: PendingAppend, reply: Appended): void {
    const { recording } = stream;
    if (this.#streams.get(append.streamId) !== stream) return;
    switch (reply.state) {
      case "ok":
      case "behind":
        stream.isKnown = true;
        stream.event = reply.last;
        stream.position = reply.state === "ok"
          ? position
          : recording.pages.positionAfter(reply.last);
        for (const process of stream.subscribers.keys()) {
          this.#peers.to(process).wake.add(append.streamId);
        }
        if (reply.state === "ok" && append.end !== undefined) this.#owner.release(recording);
        else if (recording.isOver || stream.event < recording.lastEvent) this.touch(recording);
        return;
      case "missing":
        stream.isKnown = false;
        stream.event = stream.position = 0;
        return this.touch(recording);
      case "taken":
        return this.#giveUp(recording, new StreamError("stream_exists"));
      case "lost":
        return this.#giveUp(recording, new StreamError("producer_lost"));
      case "failed":
        // The next touch tries again.
        return this.#owner.report(new Error(`Redis refuses a stream: ${reply.error}`));
    }
  }

  /** Ends a recording because the stream in Redis is no longer this one. */
  #giveUp(recording: Recording, error: StreamError): void {
    recording.shutDown(error);
    this.#owner.release(recording);
  }

  #subscribe(streamId: string, from: string, event: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      // The end may have been written before this process knew of the reader.
      this.#peers.to(from).wake.add(streamId);
      return this.#owner.unknownStream(streamId);
    }
    const { recording, subscribers } = stream;
    let subscriber = subscribers.get(from);
    const isNew = subscriber === undefined;
    subscriber ??= new RemoteSubscriber(recording);
    subscriber.moveTo(Number(event) || 0);
    if (!isNew) return recording.moved(subscriber);
    subscribers.set(from, subscriber);
    // From now on the stream is written more often.
    this.touch(recording);
    recording.markServed();
    recording.join(subscriber);
    // The reader may have missed what was written since it looked.
    this.#peers.to(from).wake.add(streamId);
    this.#peers.sendSoon();
  }

  #leave(streamId: string, from: string): void {
    const stream = this.#streams.get(streamId);
    const subscriber = stream?.subscribers.get(from);
    if (stream === undefined || subscriber === undefined) return;
    stream.subscribers.delete(from);
    stream.recording.leave(subscriber);
  }

  /** The description that other processes need to serve the stream, written once. */
  #describe({ recording, frames }: StreamState): string {
    const { format, headers, owner, chatId } = recording.info;
    const text = (error: StreamError, final = false): string => {
      try {
        return decoder.decode(frames.fail(error, 0, final));
      } catch (error) {
        // A custom format that cannot write its failures: its readers elsewhere get none.
        this.#owner.report(error);
        return "";
      }
    };
    const failures = Object.fromEntries(FAILURES.map((error) => [error.code, text(error)]));
    const lost = text(new StreamError("producer_lost"), true);
    const info: RemoteInfo = { format, headers, owner, chatId, fail: failures, lost };
    return JSON.stringify(info);
  }
}
