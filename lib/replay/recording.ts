/**
 * One generation's events in memory, and those who read them: the pace between a source and any
 * number of readers. Every log keeps its live generations in these; it stands apart from the logs
 * because the pace is the same whatever else they do with the events.
 */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import type { ByteProducer, Generation } from "../pipeline/generation.ts";
import { enter, leave, schedule, type Task } from "../pipeline/scheduler.ts";
import type { Follower, Recorder, RecordOptions, StreamInfo } from "../http/replay_log.ts";

/** Who keeps recordings: a log. None of it may throw. */
export interface RecordingOwner {
  /** Bytes and events that one stream may hold. */
  readonly maxStreamBytes: number;
  readonly maxStreamEvents: number;
  /** So many bytes more are held, or fewer. Answers whether there is room for more. */
  held(bytes: number): boolean;
  /** There are events since the recording was `collected` last: told once, for a look-up with each token costs 0.4 us on Deno. */
  appended?(recording: Recording): void;
  /** The generation has ended, and its last event was written. */
  ended(recording: Recording): void;
  /** Nobody was answered, and nobody will ask for it: it failed before its first event, or its reader had left. */
  forget(recording: Recording): void;
  /** The recording is held no longer. */
  dropped?(recording: Recording): void;
}

/** A piece of a stream: whole events, one after the other. */
export interface EventPage {
  /** Number of its first event, and of the one past its last. */
  first: number;
  next: number;
  /** Where it begins, in bytes from the start of the stream: less than 0 where it has a heartbeat before the first event. */
  readonly start: number;
  bytes: Uint8Array;
  length: number;
  /** The page that follows; none where this is the last, or was trimmed. */
  after: EventPage | undefined;
}

/** Somebody who reads a recording and keeps its source going, here or on another machine. */
export interface Subscriber {
  /** Bytes of the stream that it has; less than 0 before the heartbeat of the first page. */
  readonly position: number;
  /** The page that it goes on with, as long as it is held. */
  readonly page: EventPage | undefined;
  /** Something waits, or the end has come. Must not throw. */
  run(): void;
}

/** Pages grow to this size; a stream is trimmed by whole pages. */
const PAGE_BYTES = 16 * 1024;
const FIRST_PAGE_BYTES = 512;
/** What a reader is given in one piece, unless one page is more. */
const CHUNK_BYTES = 64 * 1024;
/** What is made between two looks at the pace: what waits in the generation, and a page of it. */
const TURN_BYTES = CHUNK_BYTES + PAGE_BYTES;
/** No event is smaller: an id, a field and their ends. */
const TURN_EVENTS = TURN_BYTES / 16;
const LF = 0x0a;
/** What a reader is given before the first event, and after a silence. */
export const HEARTBEAT: Uint8Array = new TextEncoder().encode(":\n");
const NOTHING = new Uint8Array(0);
const LAGGED = new StreamError("lagged");
const PAST_THE_END = new StreamError("bad_request", { detail: "Last-Event-ID is past the end" });

/**
 * ```
 *   live ──the source ended, failed, was stopped; or nobody read for too long──▶ ended
 * ```
 *
 * With readers, the fastest one sets the pace. Without one, the source runs on until the log is full.
 * A source that cannot wait trims the log's oldest events; a reader behind those is told `lagged`.
 */
export class Recording implements Recorder, Task {
  /** The scheduler's. */
  due = false;
  readonly bounded = false;
  readonly info: StreamInfo;
  #options: RecordOptions;
  readonly #owner: RecordingOwner;
  readonly #readers = new Set<Subscriber>();
  #state: "live" | "ended" | "discarded" = "live";
  /** Whether a reader was answered, so that it knows the stream's name. */
  #isServed = false;
  /** Whether the owner knows that there are events it has not collected. */
  #isNoted = false;
  #generation: Generation | undefined;
  #blocked = false;
  /** The reader that is furthest ahead. */
  #fastest: Subscriber | undefined;
  #graceTimer: ReturnType<typeof setTimeout> | undefined;
  /** The oldest page and the newest. */
  #head: EventPage;
  #tail: EventPage;
  #endEvent: number | undefined;

  constructor(info: StreamInfo, options: RecordOptions, owner: RecordingOwner) {
    this.info = info;
    this.#options = options;
    this.#owner = owner;
    // The first page begins as the first reader's body does, so that it can be lent as it is.
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

  /** A turn costs each of many readers a write: there are fewer of them, and more in each. */
  pressure(bytes: number): number {
    if (this.#blocked) return Infinity;
    return this.#readers.size > 1 ? bytes / 4 : bytes;
  }

  /** The oldest page. */
  get head(): EventPage {
    return this.#head;
  }

  /** Bytes since the start of the stream, trimmed or not. */
  get bytes(): number {
    return this.#tail.start + this.#tail.length;
  }

  /** Bytes of memory. */
  get heldBytes(): number {
    let held = 0;
    for (let page: EventPage | undefined = this.#head; page; page = page.after) {
      held += page.bytes.length;
    }
    return held;
  }

  /** Whether an item was sent, or none will be. */
  get begun(): boolean {
    return this.#generation?.begun !== false;
  }

  /** Whether no more events will come. */
  get isOver(): boolean {
    return this.#state !== "live";
  }

  /** The failure that came before any item, where no reader was answered before it. */
  get failureBeforeHeaders(): { error: unknown } | undefined {
    return this.#state === "discarded" ? this.#generation?.failure : undefined;
  }

  /** The owner is about to look at all that is there, and wants to hear of what comes then. */
  collected(): void {
    this.#isNoted = false;
  }

  /** A reader is answered. */
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
    const reader = new Reader(this, after, follower, this.#options.fail);
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

  /** A reader has taken something. */
  moved(subscriber: Subscriber): void {
    if (this.isOver) return;
    this.#compare(subscriber);
    // A source that runs waits for no reader.
    if (this.#blocked) this.#repace();
  }

  #compare(subscriber: Subscriber): void {
    if (this.#fastest === undefined || subscriber.position > this.#fastest.position) {
      this.#fastest = subscriber;
    }
  }

  /**
   * A reader is served or gone.
   *
   * @param isUnread Whether it had left before it was served at all.
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
      // Nobody has asked for more than this, nor been told of it.
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

  /** The page that has what comes after event number `event`, or will have it. */
  pageAfter(event: number): EventPage {
    let page = this.#head;
    while (page.next <= event + 1 && page.after) page = page.after;
    return page;
  }

  /** Where event number `event` ends, in bytes of the stream; where what is held begins, if it is not. */
  positionAfter(event: number): number {
    const page = this.pageAfter(event);
    return page.start + (event + 1 < page.next ? offsetOf(page, event + 1) : page.length);
  }

  // What the generation calls.

  wake(): void {
    // All is there: as a stream without a log does, it does not wait for a turn (benchmark case: replay).
    if (this.#generation?.over && this.#state === "live") queueMicrotask(() => this.run());
    else if (!this.isOver) schedule(this);
  }

  /** A source that does not wait: its events are written at once, in place of the oldest if need be. */
  flush(): void {
    this.#write();
  }

  /** The recording's turn. */
  run(): void {
    const generation = this.#generation;
    if (generation === undefined || this.#state !== "live") return;
    if (generation.failedBeforeHeaders && !this.#isServed) {
      return this.#failBeforeHeaders(generation);
    }
    if (generation.over) {
      generation.conclude();
      this.#endEvent = generation.endEvent;
      this.#write();
      this.#end(generation);
    } else this.#write();
    // Straight to the readers: a second hop would double what a paced token waits.
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

  /** Holds encoded events, of which the last is number `lastEvent`. */
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

  /** Gives up the oldest pages where the stream holds too much, or all streams do. */
  #trim(room: boolean): void {
    const { maxStreamBytes, maxStreamEvents } = this.#owner;
    while (this.#head !== this.#tail) {
      const head = this.#head;
      const fits = this.bytes - head.start <= maxStreamBytes &&
        this.#tail.next - head.first <= maxStreamEvents;
      if (fits && room) return;
      this.#head = head.after!;
      // Whoever stands there must not hold on to all that follows.
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
    // What the reader needs, or one that may come, is held: what is made in one turn has to fit as well.
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
    generation.finish();
    leave();
    this.#owner.ended(this);
    this.#options.onEnd();
    // Only the events are kept: what made them, and for whom, may hold a lot.
    this.#generation = undefined;
    this.#fastest = undefined;
    this.#options = ENDED;
  }

  /** The one reader is answered with a status of its own, and the name was never told. */
  #failBeforeHeaders(generation: Generation): void {
    this.#state = "discarded";
    this.#disarm();
    leave();
    for (const reader of this.#readers) reader.run();
    generation.finish();
    this.#owner.forget(this);
    this.#options.onEnd();
  }

  /** Nobody reads on. */
  #abandon(): void {
    this.#generation?.abandon();
    this.run();
  }

  /** What has ended takes no more than it needs. */
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

/** Who joins a stream that has ended cannot fall behind. */
const ENDED: RecordOptions = {
  highWaterMark: Infinity,
  continueForMs: Infinity,
  fail: () => NOTHING,
  onEnd: () => {},
};

/** One reader's place in a recording. */
class Reader implements ByteProducer {
  readonly breakOff = undefined;
  readonly #recording: Recording;
  readonly #follower: Follower;
  readonly #fail: RecordOptions["fail"];
  /** The last event that the reader has. */
  readonly #after: number;
  /** Bytes of the stream that the reader has; unknown while the stream has not come as far as the reader. */
  #position: number | undefined;
  /** The page that is read, as long as it is held. */
  #page: EventPage | undefined;
  /** What goes before the next events: the first heartbeat, or one after a silence. */
  #lead: Uint8Array = HEARTBEAT;
  #isUnread = false;
  /** What ends this reader and not the generation. */
  #dropped: Uint8Array<ArrayBuffer> | undefined;

  constructor(
    recording: Recording,
    after: number,
    follower: Follower,
    fail: RecordOptions["fail"],
  ) {
    this.#recording = recording;
    this.#after = after;
    this.#follower = follower;
    this.#fail = fail;
  }

  run(): void {
    this.#follower.run();
  }

  /** Bytes of the stream that the reader has; none of them where it is waited for no more. */
  get position(): number {
    this.#locate();
    return this.#dropped === undefined ? this.#position ?? this.#recording.bytes : 0;
  }

  /** The page that the reader stands on. */
  get page(): EventPage | undefined {
    this.#locate();
    return this.#page;
  }

  get begun(): boolean {
    return this.#recording.begun;
  }

  get over(): boolean {
    return this.#dropped !== undefined || this.#recording.isOver;
  }

  get failure(): { error: unknown } | undefined {
    return this.#recording.failureBeforeHeaders;
  }

  get failedBeforeHeaders(): boolean {
    return this.#recording.failureBeforeHeaders !== undefined;
  }

  get waiting(): number {
    this.#locate();
    if (this.#dropped !== undefined) return this.#dropped.length;
    const events = this.#position === undefined ? 0 : this.#recording.bytes - this.#position;
    return this.#lead.length + events;
  }

  conclude(): boolean {
    this.#locate();
    return this.over;
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
    // By whole pages, for they end where an event does: who is left behind has no half of one.
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

  /** What is on one page is lent as it lies there: it is not copied twice (benchmark case: replay). */
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
    this.#lead = HEARTBEAT;
  }

  drained(): void {
    this.#recording.moved(this);
  }

  finish(): void {
    this.#recording.leave(this);
  }

  unread(): void {
    this.#isUnread = true;
  }

  end(): void {
    this.#recording.leave(this, this.#isUnread);
  }

  /** Finds the place of the reader, and notices where it is held no longer. */
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
      // The page was given up: a reader that has all of it is none the worse for it.
      if (this.#position < head.start) return this.#drop(LAGGED);
      this.#page = head;
    }
    // Up to where there is something to read.
    while (this.#position === this.#page!.start + this.#page!.length && this.#page!.after) {
      this.#page = this.#page!.after;
    }
  }

  #drop(error: StreamError): void {
    this.#dropped = this.#fail(error);
  }
}

/** Where event number `wanted` begins in a page: events end in a blank line and hold none. */
function offsetOf({ first, start, bytes, length }: EventPage, wanted: number): number {
  let at = Math.max(0, -start);
  for (let event = first; event < wanted && at < length; event++) {
    while (at < length && !(bytes[at] === LF && bytes[at + 1] === LF)) at++;
    at += 2;
  }
  return at;
}
