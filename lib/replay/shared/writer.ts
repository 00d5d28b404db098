/**
 * From memory to Redis: what generations of this process have made is written down in batches, and
 * readers elsewhere are counted among theirs. It stands apart because a generation and its readers here never
 * wait for any of it.
 */
import { StreamError } from "../../error.ts";
import { unref } from "../../pipeline/scheduler.ts";
import type { RecordOptions } from "../../http/replay_log.ts";
import type { EventPage, Recording, Subscriber } from "../recording.ts";
import type { RedisLink } from "../redis/link.ts";
import type { PeerChannel, PeerMessage } from "./peers.ts";
import { type Append, type Appended, LEASE_MS, type RedisScripts } from "../redis/store.ts";

/** How a stream is described to those who read it elsewhere. */
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

/** What a writer calls. None of it may throw. */
export interface LogWriterOwner {
  /** All of it is in Redis, or never will be. */
  release(recording: Recording): void;
  /** Somebody reads, or would stop, a stream of this process that it does not know. */
  unknownStream(streamId: string): void;
  report(error: unknown): void;
}

/**
 * At most twenty writes a second for a stream that somebody reads elsewhere, or that has ended; two for any other,
 * which loses so much more if its process is killed. Twenty for each took Deno half as long again for a token
 * (benchmark case: redis, paced).
 */
const READ_MS = 50;
const UNREAD_MS = 500;
/** So much that Redis does not have is as good as somebody who waits for it. */
const AWAITED_BYTES = 64 * 1024;
/** How often it is looked which are due, and how many of them are written then: others would wait for what is more. */
const TICK_MS = 25;
const TICK_STREAMS = 16;
const TICK_SHARE = 1 / 10;
/** What is written to Redis in one command. */
const BATCH_BYTES = 256 * 1024;
const BATCH_STREAMS = 50;
/**
 * What is on its way to Redis in all, but for names, which are never held up. More would wait in the client, which has
 * no limit, and on a core that is full so long that Redis seems to be away: node-redis on Deno sends and hears one
 * piece a turn of the loop.
 */
const FLIGHT_BYTES = 4 * 1024 * 1024;
/** A stream is written to at least so often, for its expiry, and to notice where Redis has lost it. */
const TOUCH_MS = 3000;
/** A reader elsewhere is gone when nothing was heard of it for so long; while Redis is away, after a minute. */
const SUBSCRIBER_MS = 6000;
const SUBSCRIBER_OUTAGE_MS = 60_000;
const NEVER = -Infinity;
/** The failures that a reader of another process may be told. */
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
  /** The last event that the fastest of them has. */
  #event = 0;
  position = 0;
  seenMs = 0;

  constructor(recording: Recording) {
    this.#recording = recording;
  }

  get page(): EventPage {
    return this.#recording.pageAfter(this.#event);
  }

  moveTo(event: number): void {
    this.#event = event;
    this.position = this.#recording.positionAfter(event);
    this.seenMs = performance.now();
  }

  /** They are woken after each write. */
  run(): void {}
}

/** A recording on its way to Redis. */
interface StreamState {
  readonly recording: Recording;
  readonly fail: RecordOptions["fail"];
  /** Whether Redis has heard of it. */
  isKnown: boolean;
  /** The last event that Redis has, and where it ends in bytes of the stream. */
  event: number;
  position: number;
  writtenMs: number;
  isWriting: boolean;
  readonly subscribers: Map<string, RemoteSubscriber>;
}

/** What is written of a stream, and how far that brings Redis. */
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
  /** Whether a name that was just heard of is on its way. */
  #isAnnouncing = false;
  /** Bytes of events that Redis has not answered for. */
  #inFlight = 0;
  /** Whether something is due and found no room. */
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

  /** Whether Redis has heard of a stream of this process. */
  isKnown(streamId: string): boolean {
    return this.#streams.get(streamId)?.isKnown === true;
  }

  /** Its name is written at once, or with the next tick: who knows it may ask for it elsewhere. */
  add(recording: Recording, fail: RecordOptions["fail"]): void {
    const stream: StreamState = {
      recording,
      fail,
      isKnown: false,
      event: 0,
      position: 0,
      writtenMs: NEVER,
      isWriting: false,
      subscribers: new Map(),
    };
    this.#streams.set(recording.info.streamId, stream);
    this.#dirty.add(stream);
    // A thousand that begin together would each wait for the commands of all before it.
    if (this.#isAnnouncing) return this.#arm();
    if (!this.#link.isUp) return;
    this.#isAnnouncing = true;
    queueMicrotask(() => this.#writeStreams([stream]).finally(() => this.#isAnnouncing = false));
  }

  /** There is something to be written of it. */
  touch(recording: Recording): void {
    const stream = this.#streams.get(recording.info.streamId);
    if (stream === undefined) return;
    this.#dirty.add(stream);
    this.#arm();
  }

  /** It is held no longer. */
  drop(recording: Recording): void {
    const stream = this.#streams.get(recording.info.streamId);
    if (stream?.recording !== recording) return;
    this.#streams.delete(recording.info.streamId);
    this.#dirty.delete(stream);
  }

  /** Nobody was told of it: what is written of it already is taken back. */
  forget(recording: Recording): void {
    const { streamId, owner, chatId } = recording.info;
    const stream = this.#streams.get(streamId);
    if (stream?.recording !== recording || stream.writtenMs === NEVER) return;
    this.#scripts.forget(streamId, owner, chatId).catch(() => {
      // Redis is away: who asks for it will find that it is no longer made.
    });
  }

  /** Redis was away, and may have forgotten anything. */
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

  /** What another process says of streams of this one. */
  hear({ from, here, gone, stop }: PeerMessage): void {
    for (const streamId of gone) this.#leave(streamId, from);
    for (const [streamId, event] of here) this.#subscribe(streamId, from, event);
    for (const [streamId, reason] of stop) {
      const stream = this.#streams.get(streamId);
      if (stream === undefined) this.#owner.unknownStream(streamId);
      else stream.recording.stop(reason || undefined);
    }
  }

  /** Writes what is there, due or not. */
  async write(): Promise<void> {
    await this.#writeStreams(this.#dirty);
  }

  /** A stream is never written to twice at once. */
  async #writeStreams(streams: Iterable<StreamState>): Promise<void> {
    await Promise.all(this.#batches(streams).map((batch) => this.#write(batch)));
    this.#peers.send();
  }

  close(): void {
    // Nobody elsewhere is heard any more, and a generation must not go on for them.
    for (const { recording, subscribers } of this.#streams.values()) {
      for (const subscriber of subscribers.values()) recording.leave(subscriber);
    }
    this.#streams.clear();
    this.#dirty.clear();
    // Last: what ends now may have asked for a turn.
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

  /** What is to be written now; of what nobody waits for, `share` streams at most. */
  *#due(share: number): Iterable<StreamState> {
    const nowMs = performance.now();
    for (const stream of this.#dirty) {
      if (stream.isWriting) continue;
      const { recording, position } = stream;
      const isAwaited = !stream.isKnown || stream.subscribers.size > 0 || recording.isOver ||
        recording.bytes - position >= AWAITED_BYTES;
      // A timer may be a little early.
      if (nowMs - stream.writtenMs < (isAwaited ? READ_MS : UNREAD_MS) - 1) continue;
      if (isAwaited || share-- > 0) yield stream;
    }
  }

  /** Packs streams in pieces that hold nobody else up. */
  #batches(streams: Iterable<StreamState>): PendingAppend[][] {
    const batches: PendingAppend[][] = [];
    let batchBytes = Infinity;
    this.#isHeldUp = false;
    const nowMs = performance.now();
    for (const stream of streams) {
      // It may have been dropped since it was chosen.
      if (stream.isWriting || !this.#dirty.has(stream)) continue;
      const isFull = this.#inFlight >= FLIGHT_BYTES;
      if (isFull) {
        this.#isHeldUp = true;
        // Its reader may ask for it elsewhere: its name goes ahead, without its events.
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

  /** Whole events that Redis does not have, page by page as they are held, until there are `limit` bytes. */
  #pack(stream: StreamState, limit: number): PendingAppend {
    const { recording, isKnown } = stream;
    let { event, position } = stream;
    let bytes = 0;
    const pieces: Append["pieces"] = [];
    for (
      let page: EventPage | undefined = recording.head;
      page !== undefined && bytes < limit;
      page = page.after
    ) {
      const from = Math.max(position - page.start, 0);
      if (from >= page.length) continue;
      // What was given up before it was written is a gap, and readers notice it.
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
      // The link has said so, and says when it is time to try again; it knows nothing of what was answered.
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
        stream.position = reply.state === "ok" ? position : recording.positionAfter(reply.last);
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
        // It is tried again with the next touch.
        return this.#owner.report(new Error(`Redis refuses a stream: ${reply.error}`));
    }
  }

  /** The stream in Redis is no longer the one that is made here. */
  #giveUp(recording: Recording, error: StreamError): void {
    recording.shutDown(error);
    this.#owner.release(recording);
  }

  #subscribe(streamId: string, from: string, event: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      // Its end may have been written before anybody knew whom to tell.
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
    // From now on it is written more often.
    this.touch(recording);
    recording.markServed();
    recording.join(subscriber);
    // It may have missed what was written since it looked.
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

  /** What others need to serve the stream, written down once. */
  #describe({ recording, fail }: StreamState): string {
    const { format, headers, owner, chatId } = recording.info;
    const text = (error: StreamError, final = false): string => {
      try {
        return decoder.decode(fail(error, final));
      } catch (error) {
        // A format of the user's own, which cannot tell its failures: its readers are told nothing.
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
