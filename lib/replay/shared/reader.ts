/**
 * Serves streams of other processes to readers here, from the store. Separate from the writer
 * because a reader here waits for the store, and a generation never does.
 */
import type { StreamError } from "../../error.ts";
import type { Followed, Follower, ReaderFrames } from "../event_log.ts";
import type { StreamPart, StreamRead } from "./event_store.ts";
import type { PeerChannel } from "./peers.ts";
import { FollowedStream, type FollowedStreamOwner, type Found } from "./replica.ts";
import { faultOfPart } from "./stored.ts";
import type { StoreLink } from "./store_link.ts";

/** Number of streams that are read in one call. */
const BATCH_STREAMS = 32;
/** So many streams with a gap are remembered. */
const MAX_GAPS = 1000;
/** What one read of a stream returns at most, unless one piece is more. */
const READ_LENGTH = 64 * 1024;

/** A pending read, shared by all who wait for the same events of the same stream. */
interface PendingRead {
  readonly wanted: StreamRead;
  readonly answer: Promise<StreamPart | undefined>;
  resolve(part: StreamPart | undefined): void;
  reject(error: unknown): void;
}

/** The streams of other processes that have readers here. */
export class LogReader implements FollowedStreamOwner {
  readonly clock: FollowedStreamOwner["clock"];
  readonly #link: StoreLink;
  readonly #peers: PeerChannel;
  readonly #reportUnreadable: (streamId: string, fault: string) => void;
  readonly #streams = new Map<string, FollowedStream>();
  #reads = new Map<string, PendingRead>();
  /** The last event before the gap of each stream that has one. */
  readonly #gaps = new Map<string, number>();

  constructor(
    link: StoreLink,
    peers: PeerChannel,
    reportUnreadable: (streamId: string, fault: string) => void,
  ) {
    this.#link = link;
    this.#peers = peers;
    this.#reportUnreadable = reportUnreadable;
    this.clock = link.clock;
  }

  get leaseMs(): number {
    return this.#link.producer.leaseMs;
  }

  follow(found: Found, after: number, follower: Follower, frames: ReaderFrames): Followed {
    let stream = this.#streams.get(found.streamId);
    if (stream === undefined) {
      stream = new FollowedStream(found, this);
      this.#streams.set(found.streamId, stream);
    }
    return stream.follow(after, follower, frames);
  }

  /**
   * Whether a reader has met a gap after an event, and it is still there. Only then the store is
   * asked.
   */
  async hasGap({ streamId, producerId }: Found, after: number): Promise<boolean> {
    if (this.#gaps.get(streamId) !== after) return false;
    const part = await this.read({ streamId, producerId, after });
    const next = part?.pieces[0]?.first ?? Infinity;
    if (part !== undefined && part.last > after && next > after + 1) return true;
    this.#gaps.delete(streamId);
    return false;
  }

  /** Called when these streams have new events. */
  wake(streamIds: Iterable<string>): void {
    for (const streamId of streamIds) this.#streams.get(streamId)?.heard();
  }

  /** Called each second, because a message may be lost, or a process. */
  tick(): void {
    for (const stream of this.#streams.values()) stream.tick();
  }

  /** Ends each reader, and no generation. */
  drop(error: StreamError): void {
    for (const stream of this.#streams.values()) stream.drop(error);
  }

  // What followed streams call.

  /**
   * Reads what comes after an event. Reads of one turn are sent in one call. What cannot be read has
   * an `error`.
   */
  read(wanted: StreamRead): Promise<StreamPart | undefined> {
    const key = `${wanted.streamId}.${wanted.after}`;
    let read = this.#reads.get(key);
    if (read === undefined) {
      let settle!: Pick<PendingRead, "resolve" | "reject">;
      const answer = new Promise<StreamPart | undefined>((resolve, reject) => {
        settle = { resolve, reject };
      });
      read = { wanted, answer, ...settle };
      if (this.#reads.size === 0) queueMicrotask(() => this.#readAll());
      this.#reads.set(key, read);
    }
    return read.answer;
  }

  #readAll(): void {
    const reads = [...this.#reads.values()];
    this.#reads = new Map();
    for (let i = 0; i < reads.length; i += BATCH_STREAMS) {
      this.#readSome(reads.slice(i, i + BATCH_STREAMS));
    }
  }

  async #readSome(reads: readonly PendingRead[]): Promise<void> {
    try {
      const wanted = reads.map(({ wanted }) => wanted);
      const parts = await this.#link.call((store) => store.read(wanted, READ_LENGTH));
      reads.forEach((read, i) => read.resolve(this.#checked(read.wanted, parts[i])));
    } catch (error) {
      for (const read of reads) read.reject(error);
    }
  }

  #checked({ streamId }: StreamRead, part: StreamPart | undefined): StreamPart | undefined {
    const fault = part && faultOfPart(part);
    if (fault === undefined) return part;
    this.#reportUnreadable(streamId, fault);
    return { last: 0, end: undefined, isLost: false, isAlive: false, pieces: [], error: fault };
  }

  foundGap({ streamId }: Found, event: number): void {
    if (this.#gaps.size >= MAX_GAPS) this.#gaps.clear();
    this.#gaps.set(streamId, event);
  }

  get messageMs(): number {
    return this.#peers.messageMs;
  }

  ask({ streamId, producerId }: Found): void {
    this.#peers.to(producerId).ask.add(streamId);
    this.#peers.sendSoon();
  }

  reportPosition(
    { streamId, producerId }: Found,
    event: number | "left" | "stalled",
  ): void {
    const { here, gone, stalled } = this.#peers.to(producerId);
    stalled.delete(streamId);
    if (typeof event === "string") {
      here.delete(streamId);
      gone.add(streamId);
      if (event === "stalled") stalled.add(streamId);
    } else {
      gone.delete(streamId);
      here.set(streamId, event);
    }
  }

  reportSoon(): void {
    this.#peers.sendSoon();
  }

  remove(stream: FollowedStream): void {
    this.#streams.delete(stream.found.streamId);
  }

  /**
   * Marks a stream as lost after event `last`. Returns whether it is lost now: after an outage each
   * process first gets the time of a lease to show that it lives.
   */
  async markProducerLost({ streamId, producerId }: Found, last: number): Promise<boolean> {
    const { producer } = this.#link;
    if (producerId !== producer.id && !this.#link.wasUpFor(producer.leaseMs)) return false;
    return await this.#link.call((store) =>
      store.markLost(producer, { streamId, producerId, last })
    );
  }

  /**
   * Ends a stream that other processes take for one of this process and that is not: it was
   * dropped, or its end did not reach the store.
   */
  async endOrphan(streamId: string): Promise<void> {
    try {
      const stored = await this.#link.call((store) => store.find(streamId));
      if (stored === undefined || stored === null) return;
      if (stored.end !== undefined || stored.isLost) return;
      if (stored.producerId !== this.#link.producer.id) return;
      await this.markProducerLost({ ...stored, streamId, isOver: false }, stored.last);
    } catch {
      // The store is down: the other processes will ask again.
    }
  }
}
