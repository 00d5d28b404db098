/**
 * The replay log of many processes, over a store. Generations stay in the memory of their own
 * process, as with `MemoryLog`, and a copy of their events goes to the store for all other
 * processes. Separate from the stores because all that is not storage is the same over each.
 */
import { report, StreamError } from "../../error.ts";
import type { Format } from "../../formats/format.ts";
import type { LogUsage } from "../../http/replay_log.ts";
import { type Clock, systemClock } from "../../pipeline/scheduler.ts";
import { createStreamId as randomId } from "../../stream_id.ts";
import { BaseLog } from "../base_log.ts";
import type { LoggedStream, Recorder, RecordOptions, StreamInfo } from "../event_log.ts";
import { MemoryLog, type MemoryLogOptions } from "../memory.ts";
import type { EventStore, Producer, StoredStream } from "./event_store.ts";
import { PeerChannel, type PeerMessage } from "./peers.ts";
import { LogReader } from "./reader.ts";
import type { Found } from "./replica.ts";
import { type Remotes, RemoteStream } from "./remote_stream.ts";
import { StoreLink } from "./store_link.ts";
import { faultOfStream, parseInfo } from "./stored.ts";
import { parseName, StoredNames } from "./stored_names.ts";
import { chatOf } from "./stream_state.ts";
import { LogWriter } from "./writer.ts";
import { replayError } from "../codes.ts";

/**
 * Limits of a {@linkcode SharedLog}. Those of `MemoryLog` apply here as well: per stream in memory
 * and in the store, and in all (`maxBytes`) to what this process still has to write there.
 */
export interface SharedLogOptions extends MemoryLogOptions {
  /**
   * Called once per outage of the store, when the store rejects a stream, once for each stream that
   * cannot be read there, and once if the store is set in a way that the log cannot rely on.
   * @default {console.error}
   */
  onError?: (error: unknown) => void;
}

const KEEP_MS = 300_000;
/** How long a process counts as alive after its last write, in ms. */
const LEASE_MS = 10_000;
/** How long a live stream is kept beyond `keepMs` after its last write, in ms. */
const LIVE_MS = 60_000;
/** Of use to stores that count in integers. */
const MAX_MS = 1e15;
const TICK_MS = 1000;
/**
 * How long a generation that ends with its readers waits for messages: a reader may have joined on
 * another machine while the last one left here.
 */
const PEER_MESSAGE_MS = 100;
/** How often a stop is sent again, and how long its effect is waited for. */
const STOP_AGAIN_MS = 500;
const STOP_LOOK_MS = 25;
const STOP_MS = 5000;
/**
 * How often the look-up of an unknown stream is repeated: its process writes a new stream id within
 * 25 ms.
 */
const FIND_TRIES = 3;
const FIND_AGAIN_MS = 60;
/** How long a producer without a lease has time to show that it lives, before a stop gives it up. */
const DOUBT_MS = 2000;
/** The shortest time between two renewals that others ask for. */
const RENEW_MS = 500;
/** So many streams that cannot be read are remembered, so that each is reported once. */
const REPORTED_STREAMS = 1000;
const STREAM_ID = /^[\w-]{1,128}$/;
/** A position after every event. */
const NO_EVENT = 1e15;

/**
 * A replay log that many processes share, over a store of your choice. It makes two writes a second
 * for a stream, at most twenty while the stream is read elsewhere or makes more than 128 KiB a
 * second. A generation and its readers in the same process never wait for the store, nor end with
 * it.
 */
export class SharedLog extends BaseLog {
  readonly #store: EventStore;
  readonly #clock: Clock;
  readonly #memory: MemoryLog;
  readonly #link: StoreLink;
  readonly #peers: PeerChannel;
  readonly #writer: LogWriter;
  readonly #reader: LogReader;
  /** @internal */
  override readonly names: StoredNames;
  /** The formats in which this process has recorded, by their names. */
  readonly #formats = new Map<string, Format>();
  /**
   * Ids of streams that were written to the store to their end, oldest first, and until when they
   * are taken.
   */
  readonly #taken = new Map<string, number>();
  readonly #report: (error: unknown) => void;
  /** Ids of streams in the store that cannot be read, that were reported. */
  readonly #reported = new Set<string>();
  #unreadable = 0;
  #isInspected = false;
  #renewedMs = -Infinity;
  #ticker: unknown;

  /**
   * Creates a log and connects it.
   *
   * @throws {RangeError} If a limit is out of its bounds.
   */
  constructor(store: EventStore, options: SharedLogOptions = {}) {
    super();
    const { onError, keepMs = KEEP_MS, clock = systemClock, ...limits } = options;
    this.#store = store;
    this.#clock = clock;
    // A stream that has ended stays until the store has it; in an outage, for as long as that may
    // last.
    const memoryMs = keepMs >= 0 ? Math.max(keepMs, LEASE_MS) : keepMs;
    this.#memory = new MemoryLog({ ...limits, clock, keepMs: memoryMs }, {
      appended: (recording) => this.#writer.touch(recording),
      ended: (recording) => this.#writer.touch(recording),
      forget: (recording) => this.#writer.forget(recording),
      dropped: (recording) => this.#writer.drop(recording),
    });
    // Stores may have no streams that expire at once.
    const keptMs = Math.min(MAX_MS, Math.max(1, Math.round(keepMs)));
    const producer: Producer = {
      id: randomId(),
      leaseMs: LEASE_MS,
      liveMs: keptMs + LIVE_MS,
      keepMs: keptMs,
    };
    this.#report = (error) => report(onError, error);
    this.#link = new StoreLink(store, producer, clock, {
      recovered: () => this.#recover(),
      report: this.#report,
    });
    this.#peers = new PeerChannel(store, this.#link, (message) => this.#hear(message));
    this.#writer = new LogWriter(this.#link, this.#peers, {
      release: (recording) => {
        this.#taken.set(recording.info.streamId, clock.now() + keepMs);
        this.#memory.release(recording);
      },
      unknownStream: (streamId) => this.#reader.endOrphan(streamId),
      asked: () => this.#renew(),
      holdName: (...name) => this.names.hold(...name),
      freeName: (...name) => this.names.free(...name),
      report: this.#report,
    });
    this.#reader = new LogReader(this.#link, this.#peers, (streamId, fault) => {
      this.#reportUnreadable(streamId, fault);
    });
    const find = this.find.bind(this);
    this.names = new StoredNames(this.#memory.names, this.#link, this.#reader, find, this.#report);
    // Connections are made now, and not with the first stream.
    this.#peers.listen();
    this.#link.write((store) => store.renew(producer)).then(() => this.#inspect(), () => {
      // The link has reported it.
    });
    this.#arm();
  }

  /**
   * Begins the recording of a new stream.
   *
   * @internal
   */
  override record(info: StreamInfo, options: RecordOptions): Recorder {
    const nowMs = this.#clock.now();
    for (const [streamId, untilMs] of this.#taken) {
      if (untilMs > nowMs) break;
      this.#taken.delete(streamId);
    }
    if (this.#taken.has(info.streamId)) throw replayError("stream_exists");
    const continueForMs = Math.max(options.continueForMs, PEER_MESSAGE_MS);
    const recording = this.#memory.record(info, { ...options, continueForMs });
    if (!this.#formats.has(info.format)) this.#formats.set(info.format, options.format);
    this.#writer.add(recording);
    return recording;
  }

  /**
   * Finds a stream by its id, here or in the store.
   *
   * @internal
   */
  override async find(streamId: string): Promise<LoggedStream | undefined> {
    const mine = await this.#memory.find(streamId);
    if (mine !== undefined) return mine;
    let stored = await this.#stored(streamId);
    // A client may resume sooner than its stream was written, and that stream may be the first for
    // long: where the store says that none has begun, one more look at the end will do.
    for (let tries = 1; !stored && tries <= FIND_TRIES; tries++) {
      await this.#sleep(FIND_AGAIN_MS);
      if (stored === undefined || tries === FIND_TRIES) stored = await this.#stored(streamId);
    }
    if (!stored) {
      // It may be a stream that could not be written.
      if (!this.#link.isUp) throw replayError("log_unavailable", { retryAfter: 1 });
      return undefined;
    }
    const info = this.#infoOf(streamId, stored);
    if (info === undefined) return undefined;
    if (stored.error !== undefined) {
      this.#reportUnreadable(streamId, stored.error);
      throw replayError("log_unavailable", { retryAfter: 1 });
    }
    return new RemoteStream(info, this.#formats.get(info.format), stored, this.#remotes);
  }

  /** @internal */
  override async drop(logged: LoggedStream): Promise<void> {
    const { streamId, owner, chatId } = logged.info;
    await this.#memory.drop(logged);
    const stored = await this.#stored(streamId);
    if (!stored) return;
    const chat = chatOf(owner, chatId);
    await this.#link.call((store) => store.forget(stored.producerId, streamId, chat));
  }

  #stored(streamId: string): Promise<StoredStream | undefined | null> {
    return this.#link.call((store) => store.find(streamId));
  }

  /** The info of a stream in the store; `undefined` if its record cannot be read, or is a name's. */
  #infoOf(streamId: string, stored: StoredStream): StreamInfo | undefined {
    if (parseName(stored.info) !== undefined) return undefined;
    try {
      const info = { ...parseInfo(stored.info), streamId };
      const fault = faultOfStream(stored);
      if (fault === undefined) return info;
      this.#reportUnreadable(streamId, fault);
    } catch (error) {
      this.#reportUnreadable(streamId, (error as Error).message);
    }
    return undefined;
  }

  /** How often a stream was asked for that cannot be read in the store. */
  get unreadable(): number {
    return this.#unreadable;
  }

  #reportUnreadable(streamId: string, fault: string): void {
    this.#unreadable++;
    if (this.#reported.has(streamId)) return;
    if (this.#reported.size >= REPORTED_STREAMS) this.#reported.clear();
    this.#reported.add(streamId);
    this.#report(new Error(`A stream in the store cannot be read: ${streamId}: ${fault}`));
  }

  /**
   * Finds the latest stream of a chat, here or in the store.
   *
   * @internal
   */
  override async latest(
    owner: string | undefined,
    chatId: string,
  ): Promise<LoggedStream | undefined> {
    const mine = await this.#memory.latest(owner, chatId);
    // A stream that the store does not have yet is newer than any that it has.
    if (mine !== undefined && !this.#writer.isKnown(mine.info.streamId)) return mine;
    try {
      const streamId = await this.#link.call((store) => store.latest(chatOf(owner, chatId)));
      if (streamId === undefined) return mine;
      if (STREAM_ID.test(streamId)) return await this.find(streamId);
      this.#reportUnreadable(JSON.stringify(chatId), "its chat has no stream id");
      return mine;
    } catch (error) {
      if (mine !== undefined) return mine;
      throw error;
    }
  }

  /**
   * The health of the log: `degraded` while the store does not respond. Readers of this process's
   * own streams are not affected.
   */
  health(): "ok" | "degraded" {
    return this.#link.isUp ? "ok" : "degraded";
  }

  /** What this process holds in memory: its own streams, until the store has them. */
  usage(): LogUsage {
    return this.#memory.usage();
  }

  /**
   * Waits until the store has what was recorded so far, at most `timeoutMs` (5000 by default).
   * Resolves to whether it has.
   */
  async flush({ timeoutMs = 5000 }: { timeoutMs?: number } = {}): Promise<boolean> {
    const deadline = this.#clock.now() + timeoutMs;
    while (this.#writer.isBehind) {
      const leftMs = deadline - this.#clock.now();
      if (leftMs <= 0) return false;
      const pause = this.#sleep(Math.min(STOP_LOOK_MS, leftMs));
      await (this.#link.isUp ? Promise.race([this.#writer.write(), pause]) : pause);
      if (this.#writer.isBehind) await pause;
    }
    return true;
  }

  /**
   * Disconnects from the store. Call `flush` before, because nothing is written any more. Closes
   * what the store has opened itself. Other processes see the generations that go on as lost.
   */
  async close(): Promise<void> {
    this.#clock.clearTimer(this.#ticker);
    this.#ticker = undefined;
    this.#reader.drop(new StreamError("shutting_down"));
    this.#peers.send();
    await this.#link.call((store) => store.leave(this.#link.producer.id)).catch(() => {
      // The store is down: the lease runs out by itself.
    });
    this.#peers.close();
    this.#writer.close();
    this.#link.close();
    await this.#store.close?.();
  }

  /** The operations on a stream that is in the store. */
  readonly #remotes: Remotes = {
    follow: (...reader) => this.#reader.follow(...reader),
    hasGap: (found, after) => this.#reader.hasGap(found, after),
    stop: (found, reason) => this.#stop(found, reason),
  };

  /** Stops a stream of another process, and waits until it has ended; at most 5 s. */
  async #stop(found: Found, reason = ""): Promise<void> {
    const { streamId, producerId } = found;
    const startMs = this.#clock.now();
    let saidMs = -Infinity;
    let missingMs: number | undefined;
    for (;;) {
      const nowMs = this.#clock.now();
      if (nowMs - saidMs >= STOP_AGAIN_MS) {
        saidMs = nowMs;
        this.#peers.to(producerId).stop.set(streamId, reason);
        this.#peers.send();
      }
      await this.#sleep(STOP_LOOK_MS);
      const state = await this.#reader.read({ streamId, producerId, after: NO_EVENT });
      if (state === undefined || state.end !== undefined || state.isLost) return;
      if (state.error !== undefined) throw replayError("log_unavailable", { retryAfter: 1 });
      if (state.isAlive) missingMs = undefined;
      else if (nowMs - (missingMs ??= nowMs) >= DOUBT_MS) {
        if (await this.#reader.markProducerLost(found, state.last)) return;
      }
      if (nowMs - startMs > STOP_MS) throw replayError("log_unavailable", { retryAfter: 1 });
    }
  }

  #arm(): void {
    this.#ticker = this.#clock.setTimer(() => this.#tick(), TICK_MS, true);
  }

  #tick(): void {
    this.#arm();
    this.#peers.tick();
    this.#writer.tick();
    this.#reader.tick();
  }

  /** Renews the lease, because another process asks whether this one lives. */
  #renew(): void {
    const nowMs = this.#clock.now();
    if (nowMs - this.#renewedMs < RENEW_MS) return;
    this.#renewedMs = nowMs;
    this.#link.write((store) => store.renew(this.#link.producer)).catch(() => {
      // The link has reported it, and the other process asks again.
    });
  }

  /** Tells once what the store is not set up for. */
  async #inspect(): Promise<void> {
    if (this.#isInspected) return;
    this.#isInspected = true;
    try {
      const fault = await this.#store.inspect?.();
      if (fault !== undefined) this.#report(new Error(fault));
    } catch {
      // It may not be looked at, and is used as it is.
    }
  }

  #recover(): void {
    this.#inspect();
    this.#peers.listen();
    this.#writer.recover();
    this.#reader.tick();
  }

  #hear(message: PeerMessage): void {
    this.#writer.hear(message);
    this.#reader.wake(message.wake);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#clock.setTimer(resolve, ms));
  }
}
