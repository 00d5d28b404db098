/**
 * One reader's position in a stream that is held in pages. Separate from the recording because the
 * readers of another process's stream read in the same way, from a copy of its events.
 */
import { StreamError } from "../error.ts";
import type { ProducerPhase, ReaderOutcome } from "../pipeline/byte_producer.ts";
import type { Followed, Follower, ReaderFrames } from "./event_log.ts";
import { type EventPage, type EventPages, HEARTBEAT, offsetOf } from "./event_pages.ts";
import { replayError } from "./codes.ts";
import { joined } from "../values.ts";
import { count, totals } from "../totals.ts";

/** A stream, as its readers are served from it. No method may throw. */
export interface ServedStream {
  readonly pages: EventPages;
  readonly phase: ProducerPhase;
  /** The error that came before any item, if the stream is `rejected`. */
  readonly error: unknown;
  /** Number of the last event of a stream whose producer is lost; else absent. */
  readonly lostAfter?: number | undefined;
  /** Called when a client gets a response. */
  markServed(): void;
  /** Called when a reader has taken something. */
  moved(reader: RecordingReader): void;
  /**
   * Called when a reader was served or is gone.
   *
   * @param isUnread Whether it was gone before it was served at all.
   * @param hasStalled Whether it was dropped because it took nothing.
   */
  leave(reader: RecordingReader, isUnread: boolean, hasStalled: boolean): void;
  /**
   * Hands a reader that has everything up to `event` over to other pages of the same stream, if
   * these do not hold what comes next and never will. Returns where the reader goes on.
   */
  handOver?(reader: RecordingReader, event: number): ServedStream | undefined;
}

/** The most that a reader is given at once, in bytes, unless one page is more. */
export const CHUNK_BYTES: number = 64 * 1024;
const NOTHING = new Uint8Array(0);
const LAGGED = replayError("lagged");
const PRODUCER_LOST = replayError("producer_lost");
export const PAST_THE_END: StreamError = new StreamError("bad_request", {
  detail: "Last-Event-ID is past the end",
});

/** One reader of a stream. */
export class RecordingReader implements Followed {
  #stream: ServedStream;
  readonly #follower: Follower;
  readonly #frames: ReaderFrames;
  /** The last event that the reader has. */
  #event: number;
  /** Bytes of the pages that the reader has; unknown while the stream is not as far as the reader. */
  #position: number | undefined;
  /** The page that is read, as long as it is held. */
  #page: EventPage | undefined;
  /** What goes before the next events: the first heartbeat, or one after a silence. */
  #lead: Uint8Array = HEARTBEAT;
  /** All that a reader that was dropped still gets, with the failure at its end. */
  #rest: Uint8Array<ArrayBuffer> | undefined;
  /** Why the reader was dropped, if it was. */
  #dropped: StreamError | undefined;
  /** The error of a reader that was dropped, if its format cannot write failures. */
  #unwritten: unknown;

  constructor(stream: ServedStream, after: number, follower: Follower, frames: ReaderFrames) {
    this.#stream = stream;
    this.#event = after;
    this.#follower = follower;
    this.#frames = frames;
  }

  run(): void {
    this.#follower.run();
  }

  /** Number of the last event that the reader has. */
  get event(): number {
    return this.#event;
  }

  /** Whether the reader was dropped, and gets nothing more of the stream. */
  get isDropped(): boolean {
    return this.#rest !== undefined;
  }

  /**
   * Bytes of the pages that the reader has; 0 if the reader was dropped and no longer sets the pace.
   */
  get position(): number {
    this.#locate();
    return this.#rest === undefined ? this.#position ?? this.#stream.pages.bytes : 0;
  }

  /** The page that the reader stands on. */
  get page(): EventPage | undefined {
    this.#locate();
    return this.#page;
  }

  get phase(): ProducerPhase {
    if (this.#rest === undefined) return this.#stream.phase;
    return this.#unwritten === undefined ? "ended" : "broken";
  }

  get error(): unknown {
    return this.#unwritten ?? this.#stream.error;
  }

  get waiting(): number {
    this.#locate();
    if (this.#rest !== undefined) return this.#rest.length;
    const events = this.#position === undefined ? 0 : this.#stream.pages.bytes - this.#position;
    return this.#lead.length + events;
  }

  conclude(): boolean {
    this.#locate();
    if (this.#rest !== undefined) return true;
    const { phase } = this.#stream;
    return phase !== "running" && phase !== "starting";
  }

  take(): Uint8Array<ArrayBuffer> {
    this.#stream.markServed();
    this.#locate();
    if (this.#rest === undefined) return this.#takePages(CHUNK_BYTES);
    const rest = this.#rest;
    this.#rest = NOTHING;
    return rest;
  }

  /**
   * Takes pages of `most` bytes. Entire pages only, because they end where an event does: a reader
   * that falls behind never has half an event.
   */
  #takePages(most: number): Uint8Array<ArrayBuffer> {
    let page = this.#page;
    let size = this.#lead.length;
    if (page !== undefined) size += page.start + page.length - this.#position!;
    let last = page;
    while (last?.after && size + last.after.length <= most) {
      last = last.after;
      size += last.length;
    }
    const { length } = this.#lead;
    if (page !== undefined && last === page && length === 0) {
      const taken = page.bytes.slice(this.#position! - page.start, page.length);
      this.#position! += size;
      this.#event = page.next - 1;
      return taken;
    }
    const taken = new Uint8Array(size);
    taken.set(this.#lead);
    let at = length;
    this.#lead = NOTHING;
    for (; page !== undefined; page = page === last ? undefined : page.after) {
      const part = page.bytes.subarray(this.#position! - page.start, page.length);
      taken.set(part, at);
      at += part.length;
      this.#position! += part.length;
    }
    this.#page = last;
    if (last !== undefined) this.#event = last.next - 1;
    return taken;
  }

  heartbeat(): void {
    this.#lead = this.#frames.heartbeat(this.#event);
  }

  drained(): void {
    this.#stream.moved(this);
  }

  end(outcome: ReaderOutcome, error?: unknown): void {
    const reason = this.#dropped ?? error;
    const isServed = outcome === "completed" && reason === undefined;
    const code = reason instanceof StreamError ? reason.code : "other";
    count(totals.logReaders, isServed ? "served" : code);
    // It may have been dropped for another reason, and not have taken that either.
    const hasStalled = error instanceof StreamError && error.code === "stalled";
    if (hasStalled) this.#frames.closeSoon?.();
    this.#stream.leave(this, outcome === "unread", hasStalled);
  }

  drop(error: StreamError): void {
    this.#locate();
    if (this.#rest === undefined) this.#drop(error);
  }

  /**
   * Ends this reader with a failure, after what waits for it.
   *
   * @param lostAfter Number of the stream's last event, if the failure ends the stream as well.
   */
  #drop(error: StreamError, lostAfter?: number): void {
    this.#dropped = error;
    const waiting = this.#takePages(Infinity);
    let failure: Uint8Array | undefined;
    try {
      failure = this.#frames.fail(error, lostAfter ?? this.#event, lostAfter !== undefined);
      if (failure === undefined) this.#unwritten = error;
    } catch (broken) {
      // The body is broken off with it.
      this.#unwritten = broken;
    }
    this.#page = undefined;
    this.#rest = failure === undefined ? waiting : joined([waiting, failure]);
  }

  /** Finds the reader's position, and drops the reader if that is held no longer. */
  #locate(): void {
    if (this.#rest !== undefined) return;
    const { pages } = this.#stream;
    const { head } = pages;
    if (this.#position === undefined) {
      if (pages.lastEvent < this.#event) {
        if (this.#stream.phase === "ended") this.#drop(PAST_THE_END);
        return;
      }
      if (this.#event + 1 < head.first) return this.#fallBehind();
      const page = pages.pageAfter(this.#event);
      this.#page = page;
      this.#position = page.start + offsetOf(page, this.#event + 1);
      // From the start of the stream: the page has its heartbeat.
      if (this.#lead === HEARTBEAT && this.#event === 0 && page.start < 0) {
        this.#position = page.start;
        this.#lead = NOTHING;
      }
    } else if (this.#page!.start < head.start) {
      // The page was dropped, but a reader that has all of it has lost nothing.
      if (this.#position < head.start) return this.#fallBehind();
      this.#page = head;
    }
    // Moves to the page that has something to read.
    while (this.#position === this.#page!.start + this.#page!.length && this.#page!.after) {
      this.#page = this.#page!.after;
    }
    const { handOver, lostAfter } = this.#stream;
    if (lostAfter !== undefined) this.#drop(PRODUCER_LOST, lostAfter);
    else if (handOver !== undefined && this.#event === pages.lastEvent) this.#goOn();
  }

  /** Called when what comes next is held here no longer. */
  #fallBehind(): void {
    this.#page = undefined;
    if (!this.#goOn()) this.#drop(LAGGED);
  }

  /** Goes on from other pages of the stream, if there are any. Returns whether there are. */
  #goOn(): boolean {
    const next = this.#stream.handOver?.(this, this.#event);
    if (next === undefined) return false;
    this.#stream = next;
    this.#position = this.#page = undefined;
    this.#locate();
    return true;
  }
}
