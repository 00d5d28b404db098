/**
 * One generation's events in memory and their readers: the pace between a source and any number of
 * readers. Separate from the logs because every log keeps its live generations in recordings, and
 * the pace is the same in all of them.
 */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import type { ByteProducer, ProducerPhase, ReaderOutcome } from "../pipeline/byte_producer.ts";
import type { Generation } from "../pipeline/generation.ts";
import { enter, leave, schedule, type Task } from "../pipeline/scheduler.ts";
import type { Follower, ReaderFrames, Recorder, RecordOptions, StreamInfo } from "./event_log.ts";

/** The owner of recordings: a log. No method may throw. */
export interface RecordingOwner {
  /** Bytes and events that one stream may hold. */
  readonly maxStreamBytes: number;
  readonly maxStreamEvents: number;
  /** Called when so many bytes more are held, or fewer. Returns whether there is room for more. */
  held(bytes: number): boolean;
  /**
   * Called when there are events since the last `collected`. Called once until the next
   * `collected`, because a look-up for each token costs 0.4 µs on Deno.
   */
  appended?(recording: Recording): void;
  /** Called when the generation has ended and its last event was written. */
  ended(recording: Recording): void;
  /**
   * Called when no client got a response and none will ask for the stream: it failed before its
   * first event, or its client had disconnected.
   */
  forget(recording: Recording): void;
  /** Called when the recording is held no longer. */
  dropped?(recording: Recording): void;
}

/** A page of a stream: complete events, one after the other. */
export interface EventPage {
  /** Number of the page's first event; `next` is the number after its last. */
  first: number;
  next: number;
  /**
   * Where the page begins, in bytes from the start of the stream; less than 0 if it has a heartbeat
   * before the first event.
   */
  readonly start: number;
  bytes: Uint8Array;
  length: number;
  /** The next page; absent if this is the last one, or was trimmed. */
  after: EventPage | undefined;
}

/** A reader of a recording that keeps its source going, here or on another machine. */
export interface Subscriber {
  /** Bytes of the stream that the reader has; less than 0 before the heartbeat of the first page. */
  readonly position: number;
  /** The page from which the reader continues, as long as it is held. */
  readonly page: EventPage | undefined;
  /** Called when events wait, or the end has come. Must not throw. */
  run(): void;
}

/** The size to which pages grow, in bytes; a stream is trimmed by entire pages. */
const PAGE_BYTES = 16 * 1024;
const FIRST_PAGE_BYTES = 512;
/** The most that a reader is given at once, in bytes, unless one page is more. */
const CHUNK_BYTES = 64 * 1024;
/**
 * The most that is made between two checks of the pace, in bytes: what waits in the generation, and
 * a page.
 */
const TURN_BYTES = CHUNK_BYTES + PAGE_BYTES;
/** The most events in a turn: no event is smaller than 16 bytes, an id, a field and their line ends. */
const TURN_EVENTS = TURN_BYTES / 16;
const LF = 0x0a;
/** The heartbeat that a reader is given before the first event, and after a silence. */
export const HEARTBEAT: Uint8Array = new TextEncoder().encode(":\n");
const NOTHING = new Uint8Array(0);
const LAGGED = new StreamError("lagged");
const PAST_THE_END = new StreamError("bad_request", { detail: "Last-Event-ID is past the end" });

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
export class Recording implements Recorder, Task {
  /** Whether this recording waits for its turn. Written by the scheduler alone. */
  due = false;
  readonly bounded = false;
  readonly info: StreamInfo;
  #options: RecordOptions;
  readonly #owner: RecordingOwner;
  readonly #readers = new Set<Subscriber>();
  #state: "live" | "ended" | "discarded" = "live";
  /** Whether a client got a response, so that it knows the stream's id. */
  #isServed = false;
  /** Whether the owner was notified of the events that it has not collected. */
  #isNoted = false;
  #generation: Generation | undefined;
  #blocked = false;
  /** The reader that is furthest ahead. */
  #fastest: Subscriber | undefined;
  #graceTimer: ReturnType<typeof setTimeout> | undefined;
  /** The oldest page; `#tail` is the newest. */
  #head: EventPage;
  #tail: EventPage;
  #endEvent: number | undefined;

  constructor(info: StreamInfo, options: RecordOptions, owner: RecordingOwner) {
    this.info = info;
    this.#options = options;
    this.#owner = owner;
    // The first page begins as the first reader's body does, so that it can be lent without a copy.
    const page = emptyPage(1, -HEARTBEAT.length, FIRST_PAGE_BYTES);
    page.bytes.set(HEARTBEAT);
    page.length = HEARTBEAT.length;
    this.#head = this.#tail = page;
    owner.held(FIRST_PAGE_BYTES);
  }

  get firstEvent(): number {
    return this.#head.first;
  }

  get lastEvent(): number {
    return this.#tail.next - 1;
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

  /** The oldest page. */
  get head(): EventPage {
    return this.#head;
  }

  /** Number of bytes since the start of the stream, trimmed or not. */
  get bytes(): number {
    return this.#tail.start + this.#tail.length;
  }

  /** Number of bytes of memory. */
  get heldBytes(): number {
    let held = 0;
    for (let page: EventPage | undefined = this.#head; page; page = page.after) {
      held += page.bytes.length;
    }
    return held;
  }

  /** The phase of what its readers are served from. */
  get phase(): ProducerPhase {
    if (this.#state === "discarded") return "rejected";
    if (this.#state === "ended") return "ended";
    return this.#generation?.phase === "starting" ? "starting" : "running";
  }

  /** Whether no more events will come. */
  get isOver(): boolean {
    return this.#state !== "live";
  }

  /** The error that came before any item, if the recording is `rejected`. */
  get error(): unknown {
    return this.#state === "discarded" ? this.#generation?.error : undefined;
  }

  /** Called by the owner before it reads all events: `appended` is called again for later ones. */
  collected(): void {
    this.#isNoted = false;
  }

  /** Called when a client gets a response. */
  markServed(): void {
    this.#isServed = true;
  }

  start(generation: Generation): void {
    this.#generation = generation;
    enter();
    try {
      generation.start();
    } catch (error) {
      generation.fail(new StreamError("internal", { cause: error }));
    }
    schedule(this);
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

  follow(after: number, follower: Follower): ByteProducer {
    const reader = new Reader(this, after, follower, this.#options.frames);
    this.join(reader);
    return reader;
  }

  /** Counts a subscriber among the readers, until it leaves. */
  join(subscriber: Subscriber): void {
    this.#readers.add(subscriber);
    if (this.isOver) return;
    this.#disarm();
    this.#compare(subscriber);
    this.#repace();
  }

  /** Called when a reader has taken something. */
  moved(subscriber: Subscriber): void {
    if (this.isOver) return;
    this.#compare(subscriber);
    // A running source does not wait for readers.
    if (this.#blocked) this.#repace();
  }

  #compare(subscriber: Subscriber): void {
    if (this.#fastest === undefined || subscriber.position > this.#fastest.position) {
      this.#fastest = subscriber;
    }
  }

  /**
   * Called when a reader was served or is gone.
   *
   * @param isUnread Whether it was gone before it was served at all.
   */
  leave(subscriber: Subscriber, isUnread = false): void {
    if (!this.#readers.delete(subscriber) || this.isOver) return;
    if (subscriber === this.#fastest) {
      this.#fastest = undefined;
      for (const other of this.#readers) this.#compare(other);
      this.#repace();
    }
    if (this.#readers.size > 0) return;
    const { continueForMs } = this.#options;
    if (isUnread && !this.#isServed) {
      // No client got a response, so none knows the stream's id.
      this.#abandon();
      if (this.#state !== "discarded") this.#owner.forget(this);
    } else if (continueForMs === 0) this.#abandon();
    else if (continueForMs < Infinity) {
      active.timers++;
      this.#graceTimer = setTimeout(() => {
        this.#disarm();
        this.#abandon();
      }, continueForMs);
    }
  }

  /** The page that has the event after number `event`, or will have it. */
  pageAfter(event: number): EventPage {
    let page = this.#head;
    while (page.next <= event + 1 && page.after) page = page.after;
    return page;
  }

  /**
   * Where event number `event` ends, in bytes of the stream; if that event is not held, where the
   * held events begin.
   */
  positionAfter(event: number): number {
    const page = this.pageAfter(event);
    return page.start + (event + 1 < page.next ? offsetOf(page, event + 1) : page.length);
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
    if (generation.phase === "rejected" && !this.#isServed) {
      return this.#failBeforeHeaders(generation);
    }
    if (generation.over) {
      generation.conclude();
      this.#endEvent = generation.endEvent;
      this.#write();
      this.#end(generation);
    } else this.#write();
    // Directly to the readers: a second hop would double the delay of a paced token.
    for (const reader of this.#readers) reader.run();
  }

  #write(): void {
    const generation = this.#generation!;
    if (generation.waiting > 0) {
      const lastEvent = generation.events;
      generation.lend((bytes) => this.append(bytes, lastEvent));
      if (!this.#isNoted) {
        this.#isNoted = true;
        this.#owner.appended?.(this);
      }
    }
    this.#repace();
  }

  /** Appends encoded events, of which the last is number `lastEvent`. */
  append(bytes: Uint8Array, lastEvent: number): void {
    let tail = this.#tail;
    let room = true;
    const wanted = tail.length + bytes.length;
    if (wanted > tail.bytes.length) {
      if (wanted <= PAGE_BYTES || tail.next === tail.first) {
        const size = Math.max(wanted, Math.min(PAGE_BYTES, tail.bytes.length * 2));
        const grown = new Uint8Array(size);
        grown.set(tail.bytes.subarray(0, tail.length));
        room = this.#owner.held(size - tail.bytes.length);
        tail.bytes = grown;
      } else {
        tail = emptyPage(tail.next, tail.start + tail.length, Math.max(PAGE_BYTES, bytes.length));
        this.#tail.after = tail;
        this.#tail = tail;
        room = this.#owner.held(tail.bytes.length);
      }
    }
    tail.bytes.set(bytes, tail.length);
    tail.length += bytes.length;
    tail.next = lastEvent + 1;
    this.#trim(room);
  }

  /** Drops the oldest pages if the stream holds too much, or all streams do. */
  #trim(room: boolean): void {
    const { maxStreamBytes, maxStreamEvents } = this.#owner;
    while (this.#head !== this.#tail) {
      const head = this.#head;
      const fits = this.bytes - head.start <= maxStreamBytes &&
        this.#tail.next - head.first <= maxStreamEvents;
      if (fits && room) return;
      this.#head = head.after!;
      // A reader that stands on this page must not keep all later ones alive.
      head.after = undefined;
      room = this.#owner.held(-head.bytes.length);
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
    const fastest = this.#fastest;
    if (fastest !== undefined) {
      const ahead = this.bytes - fastest.position;
      if (ahead === 0) return false;
      if (ahead >= this.#options.highWaterMark) return true;
    }
    // What the reader needs is held, or what one may need that has yet to come: what is made in one
    // turn has to fit as well.
    const { start, first } = fastest?.page ?? this.#head;
    const { maxStreamBytes, maxStreamEvents } = this.#owner;
    return this.bytes - start + TURN_BYTES > maxStreamBytes ||
      this.#tail.next - first + TURN_EVENTS > maxStreamEvents;
  }

  #end(generation: Generation): void {
    this.#state = "ended";
    this.#disarm();
    this.#shrink();
    generation.drained();
    generation.end("completed");
    leave();
    this.#owner.ended(this);
    this.#options.onEnd();
    // Only the events are kept: the generation, its readers and its options may hold a lot.
    this.#generation = undefined;
    this.#fastest = undefined;
    this.#options = ENDED;
  }

  /**
   * Discards the recording: its only client gets an error response, and the stream's id was never
   * sent.
   */
  #failBeforeHeaders(generation: Generation): void {
    this.#state = "discarded";
    this.#disarm();
    leave();
    for (const reader of this.#readers) reader.run();
    generation.end("completed");
    this.#owner.forget(this);
    this.#options.onEnd();
  }

  /** Ends a generation that has lost its last reader. */
  #abandon(): void {
    this.#generation?.abandon();
    this.run();
  }

  /** Frees the unused memory of a stream that has ended. */
  #shrink(): void {
    const tail = this.#tail;
    const spare = tail.bytes.length - tail.length;
    if (spare === 0) return;
    tail.bytes = tail.bytes.slice(0, tail.length);
    this.#owner.held(-spare);
  }

  #disarm(): void {
    if (this.#graceTimer === undefined) return;
    clearTimeout(this.#graceTimer);
    this.#graceTimer = undefined;
    active.timers--;
  }
}

function emptyPage(first: number, start: number, size: number): EventPage {
  return { first, next: first, start, bytes: new Uint8Array(size), length: 0, after: undefined };
}

/** Options of a stream that has ended: its readers cannot fall behind. */
const ENDED: RecordOptions = {
  highWaterMark: Infinity,
  continueForMs: Infinity,
  frames: { heartbeat: () => HEARTBEAT, fail: () => NOTHING },
  onEnd: () => {},
};

/** One reader's position in a recording. */
class Reader implements ByteProducer {
  readonly #recording: Recording;
  readonly #follower: Follower;
  readonly #frames: ReaderFrames;
  /** The last event that the reader has. */
  readonly #after: number;
  /** Bytes of the stream that the reader has; unknown while the stream is not as far as the reader. */
  #position: number | undefined;
  /** The page that is read, as long as it is held. */
  #page: EventPage | undefined;
  /** What goes before the next events: the first heartbeat, or one after a silence. */
  #lead: Uint8Array = HEARTBEAT;
  /** The failure that ends this reader and not the generation. */
  #dropped: Uint8Array<ArrayBuffer> | undefined;

  constructor(
    recording: Recording,
    after: number,
    follower: Follower,
    frames: ReaderFrames,
  ) {
    this.#recording = recording;
    this.#after = after;
    this.#follower = follower;
    this.#frames = frames;
  }

  run(): void {
    this.#follower.run();
  }

  /**
   * Bytes of the stream that the reader has; 0 if the reader was dropped and no longer sets the
   * pace.
   */
  get position(): number {
    this.#locate();
    return this.#dropped === undefined ? this.#position ?? this.#recording.bytes : 0;
  }

  /** The page that the reader stands on. */
  get page(): EventPage | undefined {
    this.#locate();
    return this.#page;
  }

  get phase(): ProducerPhase {
    return this.#dropped === undefined ? this.#recording.phase : "ended";
  }

  get error(): unknown {
    return this.#recording.error;
  }

  get waiting(): number {
    this.#locate();
    if (this.#dropped !== undefined) return this.#dropped.length;
    const events = this.#position === undefined ? 0 : this.#recording.bytes - this.#position;
    return this.#lead.length + events;
  }

  conclude(): boolean {
    this.#locate();
    return this.#dropped !== undefined || this.#recording.isOver;
  }

  take(): Uint8Array<ArrayBuffer> {
    this.#recording.markServed();
    this.#locate();
    if (this.#dropped !== undefined) {
      const dropped = this.#dropped;
      this.#dropped = NOTHING;
      return dropped;
    }
    let page = this.#page;
    // Entire pages only, because they end where an event does: a reader that falls behind never has
    // half an event.
    let size = this.#lead.length;
    if (page !== undefined) size += page.start + page.length - this.#position!;
    let last = page;
    while (last?.after && size + last.after.length <= CHUNK_BYTES) {
      last = last.after;
      size += last.length;
    }
    const taken = new Uint8Array(size);
    taken.set(this.#lead);
    let at = this.#lead.length;
    this.#lead = NOTHING;
    for (; page !== undefined; page = page === last ? undefined : page.after) {
      const part = page.bytes.subarray(this.#position! - page.start, page.length);
      taken.set(part, at);
      at += part.length;
      this.#position! += part.length;
    }
    this.#page = last;
    return taken;
  }

  /**
   * Lends the next events. Events on one page are lent in place, without a copy (benchmark case:
   * replay).
   */
  lend(borrow: (bytes: Uint8Array) => void): void {
    this.#locate();
    const page = this.#page;
    if (
      page === undefined || page.after !== undefined || this.#lead !== NOTHING ||
      this.#dropped !== undefined
    ) return borrow(this.take());
    this.#recording.markServed();
    const from = this.#position! - page.start;
    this.#position = page.start + page.length;
    borrow(page.bytes.subarray(from, page.length));
  }

  heartbeat(): void {
    this.#lead = this.#frames.heartbeat(this.#recording.lastEvent);
  }

  drained(): void {
    this.#recording.moved(this);
  }

  end(outcome: ReaderOutcome): void {
    this.#recording.leave(this, outcome === "unread");
  }

  /** Finds the reader's position, and drops the reader if that is held no longer. */
  #locate(): void {
    const recording = this.#recording;
    const { head } = recording;
    if (this.#dropped !== undefined) return;
    if (this.#position === undefined) {
      if (recording.lastEvent < this.#after) {
        if (recording.endEvent !== undefined) this.#drop(PAST_THE_END);
        return;
      }
      if (this.#after + 1 < head.first) return this.#drop(LAGGED);
      const page = recording.pageAfter(this.#after);
      this.#page = page;
      this.#position = page.start + offsetOf(page, this.#after + 1);
      // From the start of the stream: the page has its heartbeat.
      if (this.#after === 0 && page.start < 0) {
        this.#position = page.start;
        this.#lead = NOTHING;
      }
    } else if (this.#page!.start < head.start) {
      // The page was dropped, but a reader that has all of it has lost nothing.
      if (this.#position < head.start) return this.#drop(LAGGED);
      this.#page = head;
    }
    // Moves to the page that has something to read.
    while (this.#position === this.#page!.start + this.#page!.length && this.#page!.after) {
      this.#page = this.#page!.after;
    }
  }

  #drop(error: StreamError): void {
    this.#dropped = this.#frames.fail(error, this.#recording.lastEvent);
  }
}

/** The offset of event number `wanted` in a page: events end in a blank line and hold none. */
function offsetOf({ first, start, bytes, length }: EventPage, wanted: number): number {
  let at = Math.max(0, -start);
  for (let event = first; event < wanted && at < length; event++) {
    while (at < length && !(bytes[at] === LF && bytes[at + 1] === LF)) at++;
    at += 2;
  }
  return at;
}
