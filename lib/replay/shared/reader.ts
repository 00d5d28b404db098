/**
 * Serves streams of other processes to readers here, from Redis. Separate from the writer because a
 * reader here waits for Redis, and a generation never does.
 */
import { StreamError } from "../../error.ts";
import { numberLost } from "../../sse/encode.ts";
import type { Followed, Follower } from "../event_log.ts";
import type { ProducerPhase } from "../../pipeline/byte_producer.ts";
import { HEARTBEAT } from "../event_pages.ts";
import type { RedisLink } from "../redis/link.ts";
import type { PeerChannel } from "./peers.ts";
import {
  LEASE_MS,
  type Piece,
  type ReadReply,
  type RedisScripts,
  type Wanted,
} from "../redis/store.ts";
import type { RemoteInfo } from "./writer.ts";

/** A stream as it was found in Redis. */
export interface Found {
  readonly streamId: string;
  /** The id of the process that makes the stream. */
  readonly producerId: string;
  readonly info: RemoteInfo;
  readonly end: number | undefined;
}

/**
 * If less than this waits for a reader, its next events are fetched, so that at most 64 KiB and a
 * piece more wait.
 */
const LOW_BYTES = 32 * 1024;
/** Number of streams that are read in one command. */
const BATCH_STREAMS = 32;
/** How long a reader waits for a Redis that does not respond. */
const OUTAGE_MS = 30_000;

const encoder = new TextEncoder();

/** Complete events, encoded once for all readers that are given them. */
interface Part extends Piece {
  bytes: Uint8Array;
}

type Batch = (Omit<NonNullable<ReadReply>, "pieces"> & { pieces: Part[] }) | undefined;

/** A pending read, shared by all readers that wait for the same events of the same stream. */
interface PendingRead {
  readonly wanted: Wanted;
  readonly answer: Promise<Batch>;
  resolve(batch: Batch): void;
  reject(error: unknown): void;
}

/** The readers of this process, by stream. */
export class LogReader {
  readonly #link: RedisLink;
  readonly #scripts: RedisScripts;
  readonly #peers: PeerChannel;
  readonly #streams = new Map<string, RemoteStream>();
  #requests = new Map<string, PendingRead>();

  constructor(link: RedisLink, scripts: RedisScripts, peers: PeerChannel) {
    this.#link = link;
    this.#scripts = scripts;
    this.#peers = peers;
  }

  follow(found: Found, after: number, follower: Follower): Followed {
    let stream = this.#streams.get(found.streamId);
    if (stream === undefined) {
      stream = new RemoteStream(found, this);
      this.#streams.set(found.streamId, stream);
    }
    return stream.follow(after, follower);
  }

  /** Called when these streams have new events. */
  wake(streamIds: Iterable<string>): void {
    for (const streamId of streamIds) this.#streams.get(streamId)?.wake();
  }

  /** Called each second, because a message may be lost, or a process. */
  tick(): void {
    for (const stream of this.#streams.values()) stream.tick();
  }

  /** Ends each reader, and no generation. */
  drop(error: StreamError): void {
    for (const stream of this.#streams.values()) stream.drop(error);
  }

  // What streams call.

  /** Reads what comes after an event. Reads of one turn are sent in one command. */
  read(wanted: Wanted): Promise<Batch> {
    const key = `${wanted.streamId}.${wanted.after}`;
    let request = this.#requests.get(key);
    if (request === undefined) {
      const { promise: answer, resolve, reject } = Promise.withResolvers<Batch>();
      request = { wanted, answer, resolve, reject };
      if (this.#requests.size === 0) queueMicrotask(() => this.#readAll());
      this.#requests.set(key, request);
    }
    return request.answer;
  }

  #readAll(): void {
    const requests = [...this.#requests.values()];
    this.#requests = new Map();
    for (let i = 0; i < requests.length; i += BATCH_STREAMS) {
      this.#readSome(requests.slice(i, i + BATCH_STREAMS));
    }
  }

  async #readSome(requests: readonly PendingRead[]): Promise<void> {
    try {
      const replies = await this.#scripts.read(requests.map(({ wanted }) => wanted));
      requests.forEach((request, i) => request.resolve(encoded(replies[i])));
    } catch (error) {
      for (const request of requests) request.reject(error);
    }
  }

  /** Reports to the producer how far its readers here have come, or that none is left. */
  reportPosition({ streamId, producerId }: Found, event: number | undefined): void {
    const { here, gone } = this.#peers.to(producerId);
    if (event === undefined) {
      here.delete(streamId);
      gone.add(streamId);
    } else {
      gone.delete(streamId);
      here.set(streamId, event);
    }
  }

  reportSoon(): void {
    this.#peers.sendSoon();
  }

  /** Removes a stream that has no readers any more. */
  remove(stream: RemoteStream): void {
    this.#streams.delete(stream.found.streamId);
  }

  /**
   * Ends a stream after event `last` because its process is gone. Returns whether that was done:
   * after an outage each process first gets the time of a lease to show that it lives.
   */
  async markProducerLost(found: Found, last: number, isOurs = false): Promise<boolean> {
    if (!isOurs && !this.#link.wasUpFor(LEASE_MS)) return false;
    const { streamId, producerId, info } = found;
    const { text, count } = numberLost(info.lost, streamId, last);
    if (count === 0) return false;
    return await this.#scripts.markProducerLost(streamId, producerId, last, {
      first: last + 1,
      last: last + count,
      text,
    });
  }
}

function encoded(reply: ReadReply): Batch {
  if (reply === undefined) return undefined;
  const pieces = reply.pieces.map((piece) => ({ ...piece, bytes: encoder.encode(piece.text) }));
  return { ...reply, pieces };
}

/** One stream of another process, and its readers here. */
class RemoteStream {
  readonly found: Found;
  readonly #owner: LogReader;
  readonly #readers = new Set<RemoteReader>();
  #hasEnded: boolean;
  #isChecking = false;

  constructor(found: Found, owner: LogReader) {
    this.found = found;
    this.#owner = owner;
    this.#hasEnded = found.end !== undefined;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  follow(after: number, follower: Follower): Followed {
    const reader = new RemoteReader(this, after, follower);
    this.#readers.add(reader);
    // The last reader on the other machine may be about to leave.
    this.moved();
    this.#owner.reportSoon();
    reader.fetch();
    return reader;
  }

  wake(): void {
    for (const reader of this.#readers) reader.fetch();
  }

  tick(): void {
    this.moved();
    this.wake();
  }

  drop(error: StreamError): void {
    for (const reader of this.#readers) reader.drop(error);
  }

  read(after: number): Promise<Batch> {
    const { streamId, producerId } = this.found;
    return this.#owner.read({ streamId, producerId, after });
  }

  /**
   * Reports the position of the fastest reader: the producer keeps pace with its readers, wherever
   * they are.
   */
  moved(): void {
    if (this.#hasEnded) return;
    let fastest = 0;
    for (const { taken } of this.#readers) fastest = Math.max(fastest, taken);
    this.#owner.reportPosition(this.found, fastest);
  }

  leave(reader: RemoteReader): void {
    if (!this.#readers.delete(reader) || this.#readers.size > 0) return;
    this.#owner.remove(this);
    if (!this.#hasEnded) this.#owner.reportPosition(this.found, undefined);
  }

  ended(): void {
    this.#hasEnded = true;
  }

  /**
   * Checks whether the producer is gone: nothing comes after event `last`, and its lease has run
   * out.
   */
  async checkProducer(last: number): Promise<void> {
    if (this.#isChecking) return;
    this.#isChecking = true;
    try {
      if (await this.#owner.markProducerLost(this.found, last)) this.wake();
    } catch {
      // Redis is down: the check is repeated when it is back.
    } finally {
      this.#isChecking = false;
    }
  }
}

/** One reader of a stream that is in Redis. */
class RemoteReader implements Followed {
  readonly error = undefined;
  readonly #stream: RemoteStream;
  readonly #follower: Follower;
  #state: "reading" | "over" = "reading";
  /**
   * The state of fetching. `held`: enough waits, and the reader has yet to take it. `stale`: what
   * is being fetched may be outdated when it arrives.
   */
  #fetching: "no" | "held" | "yes" | "stale" = "no";
  /** The last event that was fetched; `#taken` is the last one that the reader took. */
  #after: number;
  #taken: number;
  #parts: Uint8Array[] = [HEARTBEAT];
  #waiting: number = HEARTBEAT.length;
  /** Since when Redis does not have the stream, or does not respond, in ms. */
  #missingMs: number | undefined;
  #failingMs: number | undefined;

  constructor(stream: RemoteStream, after: number, follower: Follower) {
    this.#stream = stream;
    this.#after = this.#taken = after;
    this.#follower = follower;
  }

  get taken(): number {
    return this.#taken;
  }

  get phase(): ProducerPhase {
    return this.#state === "over" ? "ended" : "running";
  }

  get waiting(): number {
    return this.#waiting;
  }

  conclude(): boolean {
    return this.#state === "over";
  }

  take(): Uint8Array<ArrayBuffer> {
    const taken = new Uint8Array(this.#waiting);
    let at = 0;
    for (const part of this.#parts) {
      taken.set(part, at);
      at += part.length;
    }
    this.#parts = [];
    this.#waiting = 0;
    return taken;
  }

  lend(borrow: (bytes: Uint8Array) => void): void {
    borrow(this.take());
  }

  heartbeat(): void {
    this.#push(HEARTBEAT);
  }

  drained(): void {
    if (this.#waiting > 0 || (this.#state === "over")) return;
    if (this.#taken !== this.#after) {
      this.#taken = this.#after;
      this.#stream.moved();
    }
    if (this.#fetching !== "held") return;
    this.#fetching = "no";
    this.fetch();
  }

  end(): void {
    this.#state = "over";
    this.#stream.leave(this);
  }

  /** Ends the reader and not the generation. */
  drop(error: StreamError): void {
    if ((this.#state === "over")) return;
    this.#state = "over";
    this.#push(encoder.encode(this.#stream.found.info.fail[error.code] ?? ""));
    this.#follower.run();
  }

  /** Fetches more events, unless enough of them wait. */
  fetch(): void {
    if ((this.#state === "over") || this.#fetching === "held") return;
    if (this.#fetching !== "no") {
      this.#fetching = "stale";
      return;
    }
    this.#fetching = this.#waiting > LOW_BYTES ? "held" : "yes";
    if (this.#fetching === "held") return;
    this.#stream.read(this.#after).then(
      (batch) => this.#receive(batch),
      () => this.#fail(),
    );
  }

  #push(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#waiting += bytes.length;
  }

  #receive(batch: Batch): void {
    const isStale = this.#fetching === "stale";
    this.#fetching = "no";
    this.#failingMs = undefined;
    if ((this.#state === "over")) return;
    if (batch === undefined) return this.#miss();
    this.#missingMs = undefined;
    const { last, end, isLost, isAlive, pieces } = batch;
    for (const piece of pieces) {
      // A gap is a failure, and is never skipped in silence.
      if (piece.first > this.#after + 1) return this.drop(new StreamError("lagged"));
      this.#push(rest(piece, this.#after));
      this.#after = piece.last;
    }
    let isDue = isStale || (pieces.length > 0 && this.#after < last);
    if (end !== undefined) {
      this.#stream.ended();
      if (this.#after > last && !isLost) return this.drop(new StreamError("bad_request"));
      // A reader that is further than its lost producer had come gets the failure as well.
      if (this.#after > last) {
        this.#after = end - 1;
        isDue = true;
      } else if (this.#after === last) this.#state = "over";
    } else if (pieces.length === 0 && !isAlive) this.#stream.checkProducer(last);
    if (isDue) this.fetch();
    if (pieces.length > 0 || (this.#state === "over")) this.#follower.run();
  }

  /**
   * Called when Redis does not have the stream: it was flushed, and the producer may write it
   * again.
   */
  #miss(): void {
    const nowMs = performance.now();
    this.#missingMs ??= nowMs;
    if (this.#stream.hasEnded || nowMs - this.#missingMs > LEASE_MS) {
      this.drop(new StreamError("lagged"));
    }
  }

  /** Called when Redis does not respond. */
  #fail(): void {
    this.#fetching = "no";
    const nowMs = performance.now();
    this.#failingMs ??= nowMs;
    if (nowMs - this.#failingMs > OUTAGE_MS) this.drop(new StreamError("log_unavailable"));
  }
}

/** The events of a piece after number `after`: events end in a blank line and hold none. */
function rest({ first, text, bytes }: Part, after: number): Uint8Array {
  if (first > after) return bytes;
  let at = 0;
  for (let event = first; event <= after; event++) at = text.indexOf("\n\n", at) + 2;
  return encoder.encode(text.slice(at));
}
