/**
 * The replay log of many machines, on the user's Redis. Generations stay in the memory of their own
 * process, as with `MemoryLog`, and a copy of their events goes to Redis for all other processes.
 */
import { report, StreamError } from "../../error.ts";
import { unref } from "../../pipeline/scheduler.ts";
import { createStreamId as randomId } from "../../stream_id.ts";
import { BaseLog } from "../base_log.ts";
import type {
  Followed,
  Follower,
  LoggedStream,
  Recorder,
  RecordOptions,
  StreamInfo,
} from "../event_log.ts";
import { MemoryLog, type MemoryLogOptions } from "../memory.ts";
import type { RedisConnection } from "../redis/clients.ts";
import { type Found, LogReader } from "./reader.ts";
import { RedisLink } from "../redis/link.ts";
import { PeerChannel, type PeerMessage } from "./peers.ts";
import { type Held, LEASE_MS, RedisScripts } from "../redis/store.ts";
import { LogWriter } from "./writer.ts";

/**
 * Limits of a {@linkcode RedisLog}. Those of `MemoryLog` apply here as well: per stream in memory
 * and in Redis, and in all (`maxBytes`) to what this process still has to write there.
 */
export interface RedisLogOptions extends MemoryLogOptions {
  /**
   * Prefix of the names of keys and channels; logs with one prefix share their streams. On a
   * cluster it has to put all of them in one slot, as `{spillway}:` does. @default {"spillway:"}
   */
  prefix?: string;
  /** Called once per outage of Redis, and when Redis rejects something. @default {console.error} */
  onError?: (error: unknown) => void;
}

const KEEP_MS = 300_000;
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
/** A position after every event. */
const NO_EVENT = 1e15;

/**
 * A replay log that all machines share. It uses two connections per process (commands, and one
 * subscription). It makes two writes a second for a stream, at most twenty while it is read
 * elsewhere or makes more than 128 KiB a second. A generation and its readers on the same machine
 * never wait for Redis, nor end with it.
 *
 * @example
 * ```ts ignore
 * import { RedisClient } from "bun";
 * import { bunRedis, createHandler, RedisLog } from "spillway";
 *
 * const log = new RedisLog(bunRedis(new RedisClient("redis://127.0.0.1:6379")));
 * export default createHandler({ source: "Hello", log });
 * ```
 */
export class RedisLog extends BaseLog {
  /** The id of this process among the others. */
  readonly #process = randomId();
  readonly #connection: RedisConnection;
  readonly #keepMs: number;
  readonly #onError: RedisLogOptions["onError"];
  readonly #memory: MemoryLog;
  readonly #link: RedisLink;
  readonly #scripts: RedisScripts;
  readonly #peers: PeerChannel;
  readonly #writer: LogWriter;
  readonly #reader: LogReader;
  /**
   * Ids of streams that were written to Redis to their end, oldest first, and until when they are
   * taken.
   */
  readonly #taken = new Map<string, number>();
  readonly #ticker: ReturnType<typeof setInterval>;

  /**
   * Creates a log and connects it.
   *
   * @param connection Your client, through `bunRedis`, `nodeRedis` or `ioRedis`.
   * @throws {RangeError} If a limit is out of its bounds.
   */
  constructor(connection: RedisConnection, options: RedisLogOptions = {}) {
    super();
    const { prefix = "spillway:", onError, keepMs = KEEP_MS, ...limits } = options;
    this.#connection = connection;
    this.#onError = onError;
    this.#keepMs = keepMs;
    // A stream that has ended stays until Redis has it; if Redis is down, for as long as an outage
    // may last.
    const memoryMs = keepMs >= 0 ? Math.max(keepMs, LEASE_MS) : keepMs;
    this.#memory = new MemoryLog({ ...limits, keepMs: memoryMs }, {
      appended: (recording) => this.#writer.touch(recording),
      ended: (recording) => this.#writer.touch(recording),
      forget: (recording) => this.#writer.forget(recording),
      dropped: (recording) => this.#writer.drop(recording),
    });
    this.#link = new RedisLink(connection, {
      probe: () => this.#scripts.renewal(),
      recovered: () => this.#recover(),
      report: (error) => report(this.#onError, error),
    });
    this.#scripts = new RedisScripts(this.#link, prefix, this.#process, this.#keepMs);
    this.#peers = new PeerChannel(
      connection,
      this.#link,
      this.#process,
      (process) => this.#scripts.inbox(process),
      (message) => this.#hear(message),
    );
    this.#writer = new LogWriter(this.#link, this.#scripts, this.#peers, {
      release: (recording) => {
        this.#taken.set(recording.info.streamId, performance.now() + this.#keepMs);
        this.#memory.release(recording);
      },
      unknownStream: (streamId) => this.#endOrphan(streamId),
      report: (error) => report(this.#onError, error),
    });
    this.#reader = new LogReader(this.#link, this.#scripts, this.#peers);
    // Both connections are made now, and not with the first stream.
    this.#peers.listen();
    this.#link.send(...this.#scripts.renewal()).catch(() => {
      // The link has reported it.
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    unref(this.#ticker);
  }

  override record(info: StreamInfo, options: RecordOptions): Recorder {
    const nowMs = performance.now();
    for (const [streamId, untilMs] of this.#taken) {
      if (untilMs > nowMs) break;
      this.#taken.delete(streamId);
    }
    if (this.#taken.has(info.streamId)) throw new StreamError("stream_exists");
    const continueForMs = Math.max(options.continueForMs, PEER_MESSAGE_MS);
    const recording = this.#memory.record(info, { ...options, continueForMs });
    this.#writer.add(recording, options.frames);
    return recording;
  }

  override async find(streamId: string): Promise<LoggedStream | undefined> {
    const mine = await this.#memory.find(streamId);
    if (mine !== undefined) return mine;
    let held = await this.#scripts.find(streamId);
    // A client may resume sooner than its first event was written.
    for (let tries = 0; held === undefined && tries < FIND_TRIES; tries++) {
      await new Promise((resolve) => setTimeout(resolve, FIND_AGAIN_MS));
      held = await this.#scripts.find(streamId);
    }
    return held && new RemoteStream(foundOf(streamId, held), held, this.#remotes);
  }

  override async latest(
    owner: string | undefined,
    chatId: string,
  ): Promise<LoggedStream | undefined> {
    const mine = await this.#memory.latest(owner, chatId);
    // A stream that Redis does not have yet is newer than any that it has.
    if (mine !== undefined && !this.#writer.isKnown(mine.info.streamId)) return mine;
    try {
      const streamId = await this.#scripts.latest(owner, chatId);
      return streamId === undefined ? mine : await this.find(streamId);
    } catch (error) {
      if (mine !== undefined) return mine;
      throw error;
    }
  }

  /**
   * The health of the log: `degraded` while Redis does not respond. Readers of this process's own
   * streams are not affected.
   */
  health(): "ok" | "degraded" {
    return this.#link.isUp ? "ok" : "degraded";
  }

  /**
   * Waits until Redis has what was recorded so far, at most `timeoutMs` (5000 by default). Resolves
   * to whether it has.
   */
  async flush({ timeoutMs = 5000 }: { timeoutMs?: number } = {}): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (this.#writer.isBehind) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) return false;
      const written = this.#link.isUp ? this.#writer.write() : sleep(STOP_LOOK_MS);
      await Promise.race([written, sleep(leftMs)]);
      if (this.#writer.isBehind) await sleep(Math.min(STOP_LOOK_MS, leftMs));
    }
    return true;
  }

  /**
   * Disconnects from Redis. Call `flush` before, because nothing is written any more. Closes the
   * subscription; the client that was passed in stays open. Other processes see the generations
   * that go on as lost.
   */
  async close(): Promise<void> {
    clearInterval(this.#ticker);
    this.#reader.drop(new StreamError("shutting_down"));
    this.#peers.send();
    await this.#scripts.leave().catch(() => {
      // Redis is down: the lease runs out by itself.
    });
    this.#peers.close();
    this.#writer.close();
    this.#link.close();
    await this.#connection.close?.();
  }

  /** The operations on a stream that is in Redis. */
  readonly #remotes: Remotes = {
    follow: (found, after, follower) => this.#reader.follow(found, after, follower),
    stop: (found, reason) => this.#stop(found, reason),
  };

  /** Stops a stream of another process, and waits until it has ended; at most 5 s. */
  async #stop(found: Found, reason = ""): Promise<void> {
    const { streamId, producerId } = found;
    const startMs = performance.now();
    let saidMs = -Infinity;
    for (;;) {
      const nowMs = performance.now();
      if (nowMs - saidMs >= STOP_AGAIN_MS) {
        saidMs = nowMs;
        this.#peers.to(producerId).stop.set(streamId, reason);
        this.#peers.send();
      }
      await sleep(STOP_LOOK_MS);
      const [state] = await this.#scripts.read([{ streamId, producerId, after: NO_EVENT }]);
      if (state === undefined || state.end !== undefined) return;
      if (!state.isAlive && await this.#reader.markProducerLost(found, state.last)) return;
      if (nowMs - startMs > STOP_MS) throw new StreamError("log_unavailable", { retryAfter: 1 });
    }
  }

  #tick(): void {
    this.#peers.tick();
    this.#writer.tick(performance.now());
    this.#reader.tick();
  }

  #recover(): void {
    this.#peers.listen();
    this.#writer.recover();
    this.#reader.tick();
  }

  #hear(message: PeerMessage): void {
    this.#writer.hear(message);
    this.#reader.wake(message.wake);
  }

  /**
   * Ends a stream that other processes take for one of this process and that is not: it was
   * dropped, or its end did not reach Redis.
   */
  async #endOrphan(streamId: string): Promise<void> {
    try {
      const held = await this.#scripts.find(streamId);
      if (held === undefined || held.end !== undefined || held.producerId !== this.#process) return;
      await this.#reader.markProducerLost(foundOf(streamId, held), held.last, true);
    } catch {
      // Redis is down: the other processes will ask again.
    }
  }
}

interface Remotes {
  follow(found: Found, after: number, follower: Follower): Followed;
  /**
   * Stops a stream and waits for its end.
   *
   * @throws {StreamError} `log_unavailable` (503) if it does not end.
   */
  stop(found: Found, reason?: string): Promise<void>;
}

/** A stream that another process makes, or that has ended. */
class RemoteStream implements LoggedStream {
  readonly info: StreamInfo;
  readonly isRemote = true;
  readonly firstEvent: number;
  readonly lastEvent: number;
  readonly endEvent: number | undefined;
  readonly isLost: boolean;
  readonly #found: Found;
  readonly #remotes: Remotes;

  constructor(found: Found, { first, last, end, isLost }: Held, remotes: Remotes) {
    this.#found = found;
    this.#remotes = remotes;
    const { format, headers, owner, chatId } = found.info;
    this.info = { streamId: found.streamId, format, headers, owner, chatId };
    this.firstEvent = first;
    this.lastEvent = last;
    this.endEvent = end;
    this.isLost = isLost;
  }

  follow(after: number, follower: Follower): Followed {
    return this.#remotes.follow(this.#found, after, follower);
  }

  async stop(reason?: string): Promise<void> {
    if (this.endEvent === undefined) await this.#remotes.stop(this.#found, reason);
  }
}

function foundOf(streamId: string, { producerId, info, end }: Held): Found {
  return { streamId, producerId, info: JSON.parse(info), end };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
