/**
 * The room of a log: what all streams hold, what each owner's hold, and which of them make room for
 * others. Separate from the log because that finds streams, and this only counts them.
 */
import type { Clock } from "../pipeline/scheduler.ts";
import { EndedStreams } from "./ended_streams.ts";
import type { Recording } from "./recording.ts";

/** The limits of a {@linkcode Room}, in bytes. */
export interface RoomLimits {
  /** Of all streams. */
  readonly maxBytes: number;
  /** Of one owner's streams. */
  readonly maxOwnerBytes: number;
}

/** What a room calls. No method may throw. */
export interface RoomOwner {
  /** The streams that are held, by their ids. */
  readonly recordings: ReadonlyMap<string, Recording>;
  /** Drops a stream that has ended. */
  drop(recording: Recording): void;
}

/** Some streams that have one limit: all of them, or an owner's. */
class Share {
  bytes = 0;
  readonly ended = new EndedStreams();
  /** Streams that could give up events, the longest stalled last; as of the last look. */
  stalled: Recording[] = [];
  readonly maxBytes: number;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }
}

/** How often the readers are looked at while the log is more than a quarter full, in ms. */
const LOOK_MS = 1000;

/**
 * Counts what a log holds. If it is too much, ended streams are dropped, the oldest first; then
 * streams whose readers have stalled, or that have none, give up their oldest events, the longest
 * stalled first.
 */
export class Room {
  readonly #limits: RoomLimits;
  readonly #clock: Clock;
  readonly #owner: RoomOwner;
  readonly #all: Share;
  readonly #owned = new Map<string, Share>();
  #lookedMs = -Infinity;
  #timer: unknown;

  constructor(limits: RoomLimits, clock: Clock, owner: RoomOwner) {
    this.#limits = limits;
    this.#clock = clock;
    this.#owner = owner;
    this.#all = new Share(limits.maxBytes);
  }

  /** Number of bytes that are held. */
  get bytes(): number {
    return this.#all.bytes;
  }

  /** The streams that have ended. */
  get ended(): EndedStreams {
    return this.#all.ended;
  }

  /**
   * Counts so many bytes more, or fewer, and makes room for them. Returns what is full in spite of
   * that: the log, the owner's share of it, or nothing.
   */
  add(owner: string | undefined, bytes: number): "log" | "owner" | undefined {
    const all = this.#all;
    const own = this.#shareOf(owner);
    all.bytes += bytes;
    if (own !== undefined) {
      own.bytes += bytes;
      if (own.bytes === 0) this.#owned.delete(owner!);
    }
    if (bytes > 0) {
      if (own !== undefined) this.#makeRoom(own);
      this.#makeRoom(all);
      if (isFilling(all) || (own !== undefined && isFilling(own))) this.#arm();
    }
    if (own !== undefined && own.bytes > own.maxBytes) return "owner";
    return all.bytes > all.maxBytes ? "log" : undefined;
  }

  /** Called when a stream has ended: from now on it may be dropped. */
  end(recording: Recording): void {
    const nowMs = this.#clock.now();
    this.#all.ended.add(recording, nowMs);
    this.#shareOf(recording.info.owner)?.ended.add(recording, nowMs);
  }

  /** Called when a stream, which holds so many bytes, is held no longer. */
  remove(recording: Recording, bytes: number): void {
    const { owner } = recording.info;
    this.#all.ended.delete(recording);
    this.#shareOf(owner)?.ended.delete(recording);
    this.add(owner, -bytes);
  }

  #shareOf(owner: string | undefined): Share | undefined {
    if (owner === undefined) return undefined;
    let share = this.#owned.get(owner);
    if (share === undefined) {
      this.#owned.set(owner, share = new Share(this.#limits.maxOwnerBytes));
    }
    return share;
  }

  #makeRoom(share: Share): void {
    while (share.bytes > share.maxBytes) {
      const oldest = share.ended.first();
      if (oldest === undefined) break;
      this.#owner.drop(oldest);
    }
    if (share.bytes <= share.maxBytes) return;
    if (this.#clock.now() - this.#lookedMs >= LOOK_MS) this.#look();
    while (share.bytes > share.maxBytes) {
      const stalled = share.stalled.pop();
      if (stalled === undefined) return;
      // Since the last look, the stream may have gone, or a reader may have come or gone on.
      const isHeld = this.#owner.recordings.get(stalled.info.streamId) === stalled;
      if (isHeld && stalled.stalledSince(this.#lookedMs) !== undefined) stalled.giveUp();
    }
  }

  /** Looks whose readers have stalled. Returns whether a stream still holds less than its limit. */
  #look(): boolean {
    const nowMs = this.#lookedMs = this.#clock.now();
    let isAnyReduced = false;
    const stalled: [recording: Recording, sinceMs: number][] = [];
    for (const recording of this.#owner.recordings.values()) {
      const sinceMs = recording.stalledSince(nowMs);
      if (sinceMs !== undefined) stalled.push([recording, sinceMs]);
      else if (recording.isReduced) isAnyReduced = true;
    }
    for (const share of this.#owned.values()) share.stalled = [];
    stalled.sort(([, a], [, b]) => b - a);
    this.#all.stalled = stalled.map(([recording]) => recording);
    for (const recording of this.#all.stalled) {
      this.#shareOf(recording.info.owner)?.stalled.push(recording);
    }
    return isAnyReduced;
  }

  #arm(): void {
    this.#timer ??= this.#clock.setTimer(
      () => {
        this.#timer = undefined;
        const isAnyReduced = this.#look();
        if (isAnyReduced || [this.#all, ...this.#owned.values()].some(isFilling)) this.#arm();
      },
      LOOK_MS,
      true,
    );
  }
}

function isFilling({ bytes, maxBytes }: Share): boolean {
  return bytes > maxBytes / 4;
}
