/**
 * One generation's events in memory, and the pace between a source and any number of readers.
 * Separate from the logs because every log keeps its live generations in recordings, and the pace is
 * the same in all of them.
 */
import { active } from "../counters.ts";
import { publicError, StreamError } from "../error.ts";
import type { Format } from "../formats/format.ts";
import type { ProducerPhase } from "../pipeline/byte_producer.ts";
import type { Generation } from "../pipeline/generation.ts";
import type { Borrower } from "../sse/utf8.ts";
import { sweeperOf, type Swept } from "../pipeline/heartbeat.ts";
import { catchUp, enter, leave, PER_REQUEST, schedule, type Task } from "../pipeline/scheduler.ts";
import type {
  Followed,
  Follower,
  ReaderFrames,
  Recorder,
  RecordOptions,
  StreamInfo,
} from "./event_log.ts";
import { EventPages, PAGE_BYTES, type PagesOwner } from "./event_pages.ts";
import type { RecordingOwner, Subscriber } from "./recording_owner.ts";
import { ReaderProgress } from "./reader_progress.ts";
import { Readers } from "./readers.ts";
import { CHUNK_BYTES, RecordingReader, type ServedStream } from "./recording_reader.ts";
import { countLogWrite } from "../totals.ts";
import { turnTime } from "./turn_time.ts";

/**
 * The most that is made between two checks of the pace, in bytes: what waits in the generation, and
 * a page.
 */
const TURN_BYTES = CHUNK_BYTES + PAGE_BYTES;
/** The most events in a turn: no event is smaller than 16 bytes, an id, a field and their line ends. */
const TURN_EVENTS = TURN_BYTES / 16;
/** What a stream whose readers have stalled keeps where others need the room, in bytes. */
const STALLED_BYTES = 128 * 1024;

/**
 * The recording of one generation.
 *
 * ```
 *   live ──the source ended, failed, was stopped; or nobody read for too long──▶ ended
 * ```
 *
 * With readers, the fastest one sets the pace. Without readers, the source runs on until the log is
 * full. A source that cannot wait trims the log's oldest events; a reader that still needs those
 * fails with `lagged`.
 */
export class Recording implements Recorder, Task, Swept, ServedStream, PagesOwner, Borrower {
  /** Whether this recording waits for its turn. Written by the scheduler alone. */
  due = false;
  readonly shortestMs = 1000;
  readonly bounded = false;
  readonly info: StreamInfo;
  readonly format: Format;
  readonly pages: EventPages;
  /**
   * The owner's `appended` is called once when the pages have so many bytes; then the owner sets it
   * anew, for a look-up with each token costs 0.4 µs on Deno.
   */
  notifyAt = 0;
  #options: Omit<RecordOptions, "format">;
  readonly #owner: RecordingOwner<Recording>;
  readonly #readers = new Readers();
  #state: "live" | "ended" | "discarded" = "live";
  /** Whether a client got a response, so that it knows the stream's id. */
  #isServed = false;
  #generation: Generation | undefined;
  #blocked = false;
  /** How the last reader went. */
  #lastLeft: "disconnected" | "stalled" = "disconnected";
  #graceTimer: unknown;
  /** The most that the stream holds, in bytes: less than its limit while it has given up events. */
  #maxBytes: number;
  /** Made when it is first asked for. */
  #progress: ReaderProgress | undefined;
  #endEvent: number | undefined;
  /** When events were last written. */
  #writtenMs = NaN;
  /** What broke the stream off, in a format that cannot write it. */
  #failure: StreamError | undefined;

  constructor(info: StreamInfo, options: RecordOptions, owner: RecordingOwner<Recording>) {
    this.info = info;
    this.format = options.format;
    this.#options = options;
    this.#owner = owner;
    this.#maxBytes = owner.maxStreamBytes;
    this.pages = new EventPages(this);
  }

  get firstEvent(): number {
    return this.pages.firstEvent;
  }

  get lastEvent(): number {
    return this.pages.lastEvent;
  }

  get endEvent(): number | undefined {
    return this.#endEvent;
  }

  /**
   * How full the queue seems to its source. A turn costs a write for each reader: for several
   * readers there are fewer turns, with more in each.
   */
  pressure(bytes: number): number {
    if (this.#blocked) return Infinity;
    return this.#readers.size > 1 ? bytes / 4 : bytes;
  }

  /** Called by the pages. */
  held(bytes: number): boolean {
    return this.#owner.held(this.info, bytes);
  }

  /** The phase of what its readers are served from. */
  get phase(): ProducerPhase {
    if (this.#state === "discarded") return "rejected";
    if (this.#state === "ended") return this.#failure === undefined ? "ended" : "broken";
    return this.#generation?.phase === "starting" ? "starting" : "running";
  }

  get isStarting(): boolean {
    return this.phase === "starting" && !this.#isServed;
  }

  /** Whether no more events will come. */
  get isOver(): boolean {
    return this.#state !== "live";
  }

  /** The error that came before any item, if the recording is `rejected`, or that broke it off. */
  get error(): unknown {
    return this.#state === "discarded" ? this.#generation?.error : this.#failure;
  }

  /** Called when a client gets a response. */
  markServed(): void {
    this.#isServed = true;
  }

  start(generation: Generation): void {
    this.#generation = generation;
    enter();
    if (PER_REQUEST) sweeperOf(this.#owner.clock, this).register(this);
    try {
      generation.start();
    } catch (error) {
      generation.fail(new StreamError("internal", { cause: error }));
    }
    schedule(this);
  }

  /** Makes up for a turn that is lost because another request has asked for it and ended. */
  sweep(): void {
    catchUp(this);
  }

  stop(reason?: string): Promise<void> {
    this.#generation?.stop(reason);
    this.run();
    return Promise.resolve();
  }

  shutDown(error: StreamError): void {
    this.#generation?.fail(error);
    this.run();
  }

  follow(after: number, follower: Follower, frames: ReaderFrames): Followed {
    const reader = new RecordingReader(this, after, follower, frames);
    this.join(reader);
    return reader;
  }

  /** Counts a subscriber among the readers, until it leaves. */
  join(subscriber: Subscriber): void {
    this.#readers.add(subscriber);
    if (this.isOver) return;
    this.#disarm();
    this.#readers.compare(subscriber);
    this.#repace();
  }

  /** Called when a reader has taken something. */
  moved(subscriber: Subscriber): void {
    if (this.isOver) return;
    this.#readers.compare(subscriber);
    // A running source does not wait for readers.
    if (this.#blocked) this.#repace();
  }

  /**
   * Called when a reader was served or is gone.
   *
   * @param isUnread Whether it was gone before it was served at all.
   * @param hasStalled Whether it was dropped because it took nothing.
   */
  leave(subscriber: Subscriber, isUnread = false, hasStalled = false): void {
    if (!this.#readers.delete(subscriber) || this.isOver) return;
    if (subscriber === this.#readers.fastest) {
      this.#readers.compareAll();
      this.#repace();
    }
    if (this.#readers.size > 0) return;
    this.#lastLeft = hasStalled ? "stalled" : "disconnected";
    // No client got a response, so none knows the stream's id. One that has named it may come back.
    const isNamed = this.info.run !== undefined;
    const isUnknown = !this.#isServed && (isUnread || isNamed);
    const continueForMs = isUnknown && !isNamed ? 0 : this.#options.continueForMs;
    if (continueForMs === 0) this.#abandon(isUnknown);
    else if (continueForMs < Infinity) {
      active.timers++;
      const abandon = () => this.#abandon(isUnknown);
      this.#graceTimer = this.#owner.clock.setTimer(abandon, continueForMs);
    }
  }

  /**
   * Since when the readers have stalled, in ms, or there is none; `undefined` if there is one that
   * takes events, or the stream has nothing to give up. Called about once a second.
   */
  stalledSince(nowMs: number): number | undefined {
    if (this.isOver) return undefined;
    const progress = this.#progress ??= new ReaderProgress();
    const state = progress.look(this.#readers, this.pages.bytes, nowMs);
    if (state === "taking") this.#maxBytes = this.#owner.maxStreamBytes;
    const canGiveUp = state === "stalled" && this.pages.holdsMoreThan(STALLED_BYTES);
    return canGiveUp ? progress.sinceMs : undefined;
  }

  /** Whether the stream holds less than its limit because it has given up events. */
  get isReduced(): boolean {
    return !this.isOver && this.#maxBytes < this.#owner.maxStreamBytes;
  }

  /** Gives up the oldest events. Until a reader takes something, no more is held than what is left. */
  giveUp(): void {
    this.#maxBytes = STALLED_BYTES;
    this.pages.dropTo(STALLED_BYTES);
    // Readers that are behind are told now, because each would keep the page that it stands on.
    this.#readers.compareAll();
  }

  // What the generation calls.

  wake(): void {
    // The stream is complete: as without a log, it does not wait for a turn (benchmark case:
    // replay).
    if (this.#generation?.over && this.#state === "live") queueMicrotask(() => this.run());
    else if (!this.isOver) schedule(this);
  }

  /** Writes the events of a source that does not wait at once, in place of the oldest if need be. */
  flush(): void {
    this.#write();
  }

  /** Takes the recording's turn. */
  run(): void {
    const generation = this.#generation;
    if (generation === undefined || this.#state !== "live") return;
    if (generation.over) {
      if (generation.phase === "rejected" && !this.#isServed) {
        return this.#failBeforeHeaders(generation);
      }
      generation.conclude();
      this.#endEvent = generation.endEvent;
      if (generation.phase === "broken") this.#failure = publicError(generation.error);
      this.#write();
      this.#end(generation);
    } else this.#write();
    // Directly to the readers: a second hop would double the delay of a paced token.
    this.#readers.run();
  }

  #write(): void {
    const generation = this.#generation!;
    if (generation.waiting > 0) {
      const nowMs = turnTime(this.#owner.clock);
      const events = generation.events - this.lastEvent;
      countLogWrite(nowMs - this.#writtenMs, generation.waiting, events);
      this.#writtenMs = nowMs;
      generation.lend(this);
      if (this.pages.bytes >= this.notifyAt) {
        this.notifyAt = Infinity;
        this.#owner.appended?.(this);
      }
    }
    this.#repace();
  }

  /** Called with what the generation lends. */
  borrow(bytes: Uint8Array, length: number): void {
    const { events, over } = this.#generation!;
    this.#trim(this.pages.append(bytes, events, length, over));
  }

  /** Drops the oldest pages if the stream holds too much, or all streams do. */
  #trim(room: boolean): void {
    const { maxStreamEvents } = this.#owner;
    const { pages } = this;
    while (pages.canDrop) {
      const fits = pages.bytes - pages.head.start <= this.#maxBytes &&
        pages.lastEvent - pages.firstEvent < maxStreamEvents;
      if (fits && room) return;
      room = pages.drop();
    }
  }

  /** Lets the source run, or makes it wait. */
  #repace(): void {
    const generation = this.#generation;
    if (generation === undefined || this.isOver) return;
    this.#blocked = this.#mustWait();
    if (!this.#blocked) generation.drained();
  }

  #mustWait(): boolean {
    const { fastest } = this.#readers;
    if (fastest !== undefined) {
      const ahead = this.pages.bytes - fastest.position;
      if (ahead === 0) return false;
      if (ahead >= this.#options.highWaterMark) return true;
    } else if (this.#options.isBackground) return false;
    // What the reader needs is held, or what one may need that has yet to come: what is made in one
    // turn has to fit as well.
    const { start, first } = fastest?.page ?? this.pages.head;
    const { maxStreamEvents } = this.#owner;
    return this.pages.bytes - start + TURN_BYTES > this.#maxBytes ||
      this.lastEvent + 1 - first + TURN_EVENTS > maxStreamEvents;
  }

  #end(generation: Generation): void {
    this.#state = "ended";
    this.#disarm();
    this.pages.shrink();
    generation.drained();
    generation.end("completed");
    this.#leave();
    this.#owner.ended(this);
    this.#options.owner.onEnd();
    // Only the events are kept: the generation, its readers and its options may hold a lot.
    this.#generation = undefined;
    this.#readers.forgetFastest();
    this.#options = ENDED;
  }

  discard(): void {
    this.#state = "discarded";
    this.#owner.forget(this);
    this.#options.owner.onEnd();
  }

  /**
   * Discards the recording: its only client gets an error response, and the stream's id was never
   * sent.
   */
  #failBeforeHeaders(generation: Generation): void {
    this.#state = "discarded";
    this.#disarm();
    this.#leave();
    this.#readers.run();
    generation.end("completed");
    this.discard();
  }

  /** Called when the generation has ended and no more turns are needed. */
  #leave(): void {
    if (PER_REQUEST) sweeperOf(this.#owner.clock, this).unregister(this);
    leave();
  }

  /** Ends a generation that has lost its last reader, and forgets one that no client knows of. */
  #abandon(isUnknown: boolean): void {
    this.#disarm();
    this.#generation?.abandon(this.#lastLeft);
    this.run();
    if (isUnknown && this.#state !== "discarded") this.#owner.forget(this);
  }

  #disarm(): void {
    if (this.#graceTimer === undefined) return;
    this.#owner.clock.clearTimer(this.#graceTimer);
    this.#graceTimer = undefined;
    active.timers--;
  }
}

/** Options of a stream that has ended: its readers cannot fall behind. */
const ENDED: Omit<RecordOptions, "format"> = {
  highWaterMark: Infinity,
  continueForMs: Infinity,
  owner: { onEnd() {} },
};
