/**
 * A copy of a part of another process's stream, from which its readers here are served as those of
 * a recording are. Separate from the reader of the store, which reads for all streams at once.
 */
import type { StreamError } from "../../error.ts";
import type { ProducerPhase } from "../../pipeline/byte_producer.ts";
import type { Clock } from "../../pipeline/scheduler.ts";
import type { Followed, Follower, ReaderFrames } from "../event_log.ts";
import { EventPages } from "../event_pages.ts";
import { PAST_THE_END, RecordingReader, type ServedStream } from "../recording_reader.ts";
import { ProducerWatch } from "./producer_watch.ts";
import type { StreamPart, StreamRead } from "./event_store.ts";
import { bytesAfter } from "./stored.ts";
import { replayError } from "../codes.ts";

/** A stream as it was found in the store. */
export interface Found {
  readonly streamId: string;
  /** The id of the process that makes the stream. */
  readonly producerId: string;
  /** Whether it has ended, or is lost. */
  readonly isOver: boolean;
}

/** What a followed stream calls. */
export interface FollowedStreamOwner {
  readonly clock: Clock;
  /** How long a producer counts as alive after its last write, in ms. */
  readonly leaseMs: number;
  /** Reads what comes after an event; `undefined` if the store does not have the stream. */
  read(wanted: StreamRead): Promise<StreamPart | undefined>;
  /** Called when the store lacks what comes after an event, and has later ones. */
  foundGap(found: Found, event: number): void;
  /** Reports to the producer how far its readers here have come, or how the last one went. */
  reportPosition(found: Found, event: number | "left" | "stalled"): void;
  /** When the last message for this process arrived, in ms. */
  readonly messageMs: number;
  /** Asks the producer to say that it lives. */
  ask(found: Found): void;
  /** Sends what is to be reported at the end of this turn. */
  reportSoon(): void;
  /** Marks the stream as lost after event `last`. Resolves to whether it is lost now. */
  markProducerLost(found: Found, last: number): Promise<boolean>;
  /** Called when the stream has no readers any more. */
  remove(stream: FollowedStream): void;
}

/**
 * If less than this waits for the fastest reader, the next events are fetched, so that at most 64
 * KiB and a piece more wait.
 */
const LOW_BYTES = 32 * 1024;
/** What is kept for slower readers: one that is further behind fetches what it needs again. */
const REPLICA_BYTES = 256 * 1024;
/** How long a reader waits for a store that does not respond. */
const OUTAGE_MS = 30_000;
const LAGGED = replayError("lagged");

/** One stream of another process, and its readers here. */
export class FollowedStream {
  readonly found: Found;
  readonly #owner: FollowedStreamOwner;
  /** The parts of the stream that are held here: one, if all readers are at about the same place. */
  readonly #replicas = new Set<Replica>();
  #isOver: boolean;
  #isChecking = false;
  /** The event that was last reported as the one that the fastest reader has. */
  #reported = -1;
  readonly signs: ProducerWatch;

  constructor(found: Found, owner: FollowedStreamOwner) {
    this.found = found;
    this.#owner = owner;
    this.#isOver = found.isOver;
    this.signs = new ProducerWatch(owner.clock.now());
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get clock(): Clock {
    return this.#owner.clock;
  }

  get leaseMs(): number {
    return this.#owner.leaseMs;
  }

  follow(after: number, follower: Follower, frames: ReaderFrames): Followed {
    const reader = this.replicaAt(after).add(after, follower, frames);
    // The last reader on the other machine may be about to leave.
    this.#report();
    this.#owner.reportSoon();
    return reader;
  }

  /** Called when the producer says that there is something new, or that it lives. */
  heard(): void {
    this.signs.heard(this.#owner.clock.now());
    this.wake();
  }

  wake(): void {
    for (const replica of this.#replicas) replica.fetch();
  }

  tick(): void {
    this.#report();
    if (!this.#isOver && this.signs.isSilent(this.#owner.clock.now())) this.#ask();
    this.wake();
  }

  drop(error: StreamError): void {
    for (const replica of this.#replicas) replica.drop(error);
  }

  // What replicas call.

  /** The replica that serves what comes after an event, beside `not`; a new one if there is none. */
  replicaAt(event: number, not?: Replica): Replica {
    let replica = this.replicaWith(event, not);
    if (replica === undefined) {
      replica = new Replica(this, event);
      this.#replicas.add(replica);
    }
    return replica;
  }

  replicaWith(event: number, not?: Replica): Replica | undefined {
    for (const replica of this.#replicas) {
      if (replica !== not && replica.serves(event)) return replica;
    }
    return undefined;
  }

  remove(replica: Replica, hasStalled: boolean): void {
    if (!this.#replicas.delete(replica) || this.#replicas.size > 0) return;
    this.#owner.remove(this);
    if (!this.#isOver) this.#owner.reportPosition(this.found, hasStalled ? "stalled" : "left");
  }

  read(after: number): Promise<StreamPart | undefined> {
    const { streamId, producerId } = this.found;
    return this.#owner.read({ streamId, producerId, after });
  }

  foundGap(event: number): void {
    this.#owner.foundGap(this.found, event);
  }

  /** Called when a reader has taken events: the producer keeps pace with the fastest. */
  moved(event: number): void {
    if (event > this.#reported) this.#report(event);
  }

  #report(event?: number): void {
    if (this.#isOver) return;
    if (event === undefined) {
      event = 0;
      for (const { fastest } of this.#replicas) event = Math.max(event, fastest);
    }
    this.#reported = event;
    this.#owner.reportPosition(this.found, event);
  }

  ended(): void {
    this.#isOver = true;
  }

  #ask(): void {
    this.signs.asked(this.#owner.clock.now());
    this.#owner.ask(this.found);
  }

  /**
   * Checks whether the producer is gone: nothing comes after event `last`, and its lease is missing.
   */
  async checkProducer(last: number): Promise<void> {
    if (this.#isChecking) return;
    const { clock, messageMs } = this.#owner;
    if (!this.signs.isGone(clock.now(), messageMs)) return this.#ask();
    this.#isChecking = true;
    try {
      if (await this.#owner.markProducerLost(this.found, last)) this.wake();
    } catch {
      // The store is down: the check is repeated when it is back.
    } finally {
      this.#isChecking = false;
    }
  }
}

/**
 * Events of a followed stream that follow each other, from the one that a reader wanted first.
 *
 * ```
 *   open ──the end was fetched──▶ ended
 *    │ ├──the stream is lost────▶ lost      readers get what is there, and the failure
 *    │ ├──a gap, an outage──────▶ failed    likewise; who comes next begins anew
 *    └─┴──another one has what comes next──▶ closed   readers go on there
 * ```
 */
export class Replica implements ServedStream {
  readonly error = undefined;
  readonly pages: EventPages;
  readonly #stream: FollowedStream;
  readonly #readers = new Set<RecordingReader>();
  #state: "open" | "ended" | "lost" | "failed" | "closed" = "open";
  #lostAfter: number | undefined;
  /**
   * The state of fetching. `held`: enough waits, and the readers have yet to take it. `stale`: what
   * is being fetched may be outdated when it arrives.
   */
  #fetching: "no" | "held" | "yes" | "stale" = "no";
  /** Since when the store does not have the stream, or does not respond, in ms. */
  #missingMs: number | undefined;
  #failingMs: number | undefined;

  constructor(stream: FollowedStream, after: number) {
    this.#stream = stream;
    // What is held is bounded here, and not by a log.
    this.pages = new EventPages({ held: () => true }, after + 1);
  }

  get phase(): ProducerPhase {
    return this.#state === "open" || this.#state === "closed" ? "running" : "ended";
  }

  get lostAfter(): number | undefined {
    return this.#lostAfter;
  }

  /** Whether a reader that has everything up to `event` can go on from here. */
  serves(event: number): boolean {
    const { firstEvent, lastEvent } = this.pages;
    if (this.#state === "failed" || event + 1 < firstEvent) return false;
    return this.#state === "closed" ? event < lastEvent : event <= lastEvent;
  }

  /** The last event that any reader has. */
  get fastest(): number {
    let fastest = 0;
    for (const { event } of this.#readers) fastest = Math.max(fastest, event);
    return fastest;
  }

  add(after: number, follower: Follower, frames: ReaderFrames): Followed {
    const reader = new RecordingReader(this, after, follower, frames);
    this.#join(reader);
    return reader;
  }

  #join(reader: RecordingReader): void {
    this.#readers.add(reader);
    // Of one that has readers, the producer tells what is new.
    if (this.#readers.size === 1 || this.#fetching === "held") this.fetch();
  }

  markServed(): void {
    // Its producer knows the readers here by their positions.
  }

  moved({ event }: RecordingReader): void {
    this.#stream.moved(event);
    if (this.#fetching === "held") this.fetch();
  }

  leave(reader: RecordingReader, _isUnread = false, hasStalled = false): void {
    const isLast = this.#readers.delete(reader) && this.#readers.size === 0;
    if (isLast) this.#stream.remove(this, hasStalled);
  }

  handOver(reader: RecordingReader, event: number): ServedStream | undefined {
    if (this.serves(event)) return undefined;
    const next = this.#stream.replicaAt(event, this);
    next.#join(reader);
    this.leave(reader);
    return next;
  }

  /** Ends the readers and not the generation. */
  drop(error: StreamError): void {
    for (const reader of this.#readers) reader.drop(error);
    this.#state = "failed";
    this.#run();
  }

  #run(): void {
    for (const reader of this.#readers) reader.run();
  }

  /** Fetches more events, unless enough of them wait. */
  fetch(): void {
    if (this.#state !== "open") return;
    if (this.#fetching === "yes" || this.#fetching === "stale") {
      this.#fetching = "stale";
      return;
    }
    const { lastEvent } = this.pages;
    if (this.#stream.replicaWith(lastEvent, this) !== undefined) {
      this.#state = "closed";
      return this.#run();
    }
    this.#fetching = this.#isWanted() ? "yes" : "held";
    if (this.#fetching === "held") return;
    this.#stream.read(lastEvent).then((part) => this.#receive(part), () => this.#fail());
  }

  /** Whether the fastest reader has taken nearly everything. */
  #isWanted(): boolean {
    const { slowest, fastest } = this.#range();
    if (slowest > fastest) return false;
    const { pages } = this;
    // As far as entire pages go: readers take them whole.
    return fastest === pages.lastEvent || pages.bytes - pages.pageAfter(fastest).start <= LOW_BYTES;
  }

  /** The last events that the slowest and the fastest reader have, of those that were not dropped. */
  #range(): { slowest: number; fastest: number } {
    let slowest = Infinity;
    let fastest = 0;
    for (const { event, isDropped } of this.#readers) {
      if (isDropped) continue;
      slowest = Math.min(slowest, event);
      fastest = Math.max(fastest, event);
    }
    return { slowest, fastest };
  }

  #receive(part: StreamPart | undefined): void {
    const isStale = this.#fetching === "stale";
    this.#fetching = "no";
    this.#failingMs = undefined;
    if (this.#state !== "open" || this.#readers.size === 0) return;
    if (part === undefined) return this.#miss();
    this.#missingMs = undefined;
    if (part.error !== undefined) return this.drop(replayError("log_unavailable"));
    const { last, end, isLost, isAlive, pieces } = part;
    if (isAlive) this.#stream.signs.leaseHeld();
    for (const piece of pieces) {
      if (piece.last <= this.pages.lastEvent) continue;
      // A gap is a failure, and is never skipped in silence.
      if (piece.first > this.pages.lastEvent + 1) return this.#meetGap();
      this.pages.append(bytesAfter(piece, this.pages.lastEvent), piece.last);
    }
    this.#trim();
    const { lastEvent } = this.pages;
    if (isLost || end !== undefined) {
      this.#stream.ended();
      if (isLost && lastEvent >= last) {
        // A reader that is further than that gets the failure as well.
        this.#state = "lost";
        this.#lostAfter = last;
      } else if (lastEvent > last) return this.drop(PAST_THE_END);
      else if (lastEvent === last) this.#state = "ended";
      else if (pieces.length === 0) return this.#meetGap();
    } else if (pieces.length === 0 && last > lastEvent) return this.#meetGap();
    else if (pieces.length === 0 && !isAlive) this.#stream.checkProducer(last);
    if (isStale || (pieces.length > 0 && lastEvent < last)) this.fetch();
    if (pieces.length > 0 || this.#state !== "open") this.#run();
  }

  /** Readers that come back to the gap are told then that it is for good. */
  #meetGap(): void {
    this.#stream.foundGap(this.pages.lastEvent);
    this.drop(LAGGED);
  }

  /** Drops what all readers have, and what only the slow ones still need if that is too much. */
  #trim(): void {
    const { slowest, fastest } = this.#range();
    const { pages } = this;
    while (pages.canDrop) {
      const { next, start } = pages.head;
      const isTooMuch = pages.bytes - start > REPLICA_BYTES;
      if (next > slowest + 1 && !(isTooMuch && next <= fastest + 1)) return;
      pages.drop();
    }
  }

  /** The store does not have the stream: it was flushed, and the producer may write it again. */
  #miss(): void {
    const nowMs = this.#stream.clock.now();
    this.#missingMs ??= nowMs;
    if (this.#stream.isOver || nowMs - this.#missingMs > this.#stream.leaseMs) this.drop(LAGGED);
  }

  /** Called when the store does not respond. */
  #fail(): void {
    this.#fetching = "no";
    const nowMs = this.#stream.clock.now();
    this.#failingMs ??= nowMs;
    if (nowMs - this.#failingMs > OUTAGE_MS && this.#state === "open") {
      this.drop(replayError("log_unavailable"));
    }
  }
}
