/**
 * The replay log of many machines, on a Redis that the user has: generations stay in the memory of the
 * process that makes them, as with `MemoryLog`, and a copy of their events goes to Redis for everybody else.
 */
import { report, StreamError } from "../../error.ts";
import { unref } from "../../pipeline/scheduler.ts";
import { createStreamId as randomId } from "../../stream_id.ts";
import type {
  Followed,
  Follower,
  LoggedStream,
  Recorder,
  RecordOptions,
  ReplayLog,
  StreamInfo,
} from "../../http/replay_log.ts";
import { MemoryLog, type MemoryLogOptions } from "../memory.ts";
import type { RedisConnection } from "../redis/clients.ts";
import { type Found, LogReader } from "./reader.ts";
import { RedisLink } from "../redis/link.ts";
import { PeerChannel, type PeerMessage } from "./peers.ts";
import { type Held, LEASE_MS, RedisScripts } from "../redis/store.ts";
import { LogWriter } from "./writer.ts";

/**
 * Limits of a {@linkcode RedisLog}. Those of `MemoryLog` hold here as well: per stream in memory and in
 * Redis, in all (`maxBytes`) for what this process still has to write there.
 */
export interface RedisLogOptions extends MemoryLogOptions {
  /**
   * What the names of keys and channels begin with; logs of one prefix share their streams. On a cluster
   * it has to put all of them in one slot, as `{spillway}:` does. @default {"spillway:"}
   */
  prefix?: string;
  /** Called once an outage of Redis, and when Redis refuses something. @default {console.error} */
  onError?: (error: unknown) => void;
}

const KEEP_MS = 300_000;
const TICK_MS = 1000;
/** A reader may have joined on another machine while the last one left here: a generation that ends with its readers waits for that word. */
const PEER_MESSAGE_MS = 100;
/** How often a stop is said, and how long its effect is waited for. */
const STOP_AGAIN_MS = 500;
const STOP_LOOK_MS = 25;
const STOP_MS = 5000;
/** A stream that is not known is asked for again: its process writes a new name within 25 ms. */
const FIND_TRIES = 3;
const FIND_AGAIN_MS = 60;
/** Nothing comes after this. */
const NO_EVENT = 1e15;

/**
 * Keeps streams where every machine finds them. Two connections per process (commands, and one
 * subscription); two writes a second for a stream, at most twenty while it is read elsewhere or makes more
 * than 128 KiB a second. A generation and its readers on the same machine never wait for Redis, nor end with it.
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
export class RedisLog implements ReplayLog {
  /** This process, to the others. */
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
  /** Names of streams that have gone to Redis to their end, oldest first, and until when they are taken. */
  readonly #taken = new Map<string, number>();
  readonly #ticker: ReturnType<typeof setInterval>;

  /**
   * @param connection A client of yours, through `bunRedis`, `nodeRedis` or `ioRedis`.
   * @throws {RangeError} If a limit is out of its bounds.
   */
  constructor(connection: RedisConnection, options: RedisLogOptions = {}) {
    const { prefix = "spillway:", onError, keepMs = KEEP_MS, ...limits } = options;
    this.#connection = connection;
    this.#onError = onError;
    this.#keepMs = keepMs;
    // What has ended stays until Redis has it, and without Redis for as long as that might be away.
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
      // The link has said so.
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    unref(this.#ticker);
  }

  record(info: StreamInfo, options: RecordOptions): Recorder {
    const nowMs = performance.now();
    for (const [streamId, untilMs] of this.#taken) {
      if (untilMs > nowMs) break;
      this.#taken.delete(streamId);
    }
    if (this.#taken.has(info.streamId)) throw new StreamError("stream_exists");
    const continueForMs = Math.max(options.continueForMs, PEER_MESSAGE_MS);
    const recording = this.#memory.record(info, { ...options, continueForMs });
    this.#writer.add(recording, options.fail);
    return recording;
  }

  async find(streamId: string): Promise<LoggedStream | undefined> {
    const mine = await this.#memory.find(streamId);
    if (mine !== undefined) return mine;
    let held = await this.#scripts.find(streamId);
    // A reader may come back sooner than its first event has been written down.
    for (let tries = 0; held === undefined && tries < FIND_TRIES; tries++) {
      await new Promise((resolve) => setTimeout(resolve, FIND_AGAIN_MS));
      held = await this.#scripts.find(streamId);
    }
    return held && new RemoteStream(foundOf(streamId, held), held, this.#remotes);
  }

  async latest(owner: string | undefined, chatId: string): Promise<LoggedStream | undefined> {
    const mine = await this.#memory.latest(owner, chatId);
    // What Redis has not heard of is newer than what it knows.
    if (mine !== undefined && !this.#writer.isKnown(mine.info.streamId)) return mine;
    try {
      const streamId = await this.#scripts.latest(owner, chatId);
      return streamId === undefined ? mine : await this.find(streamId);
    } catch (error) {
      if (mine !== undefined) return mine;
      throw error;
    }
  }

  /** `degraded` while Redis does not answer: readers of this process's streams notice nothing of it. */
  health(): "ok" | "degraded" {
    return this.#link.isUp ? "ok" : "degraded";
  }

  /**
   * Waits until Redis has what was recorded so far, `timeoutMs` at most (5000 by default). Answers
   * whether it has.
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
   * Lets go of Redis: `flush` before it, for nothing is written any more. Closes the subscription; the
   * client that was given is its giver's. Generations that go on are known as lost to the others.
   */
  async close(): Promise<void> {
    clearInterval(this.#ticker);
    this.#reader.drop(new StreamError("shutting_down"));
    this.#peers.send();
    await this.#scripts.leave().catch(() => {
      // Redis is away, and will find out by itself.
    });
    this.#peers.close();
    this.#writer.close();
    this.#link.close();
    await this.#connection.close?.();
  }

  /** What may be done with a stream that is in Redis. */
  readonly #remotes: Remotes = {
    follow: (found, after, follower) => this.#reader.follow(found, after, follower),
    stop: (found, reason) => this.#stop(found, reason),
  };

  /** Has a stream of another process stopped, and waits until it has ended; 5 s at most. */
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

  /** Others believe that a stream is made here, and it is not: it was given up, or its end did not reach Redis. */
  async #endOrphan(streamId: string): Promise<void> {
    try {
      const held = await this.#scripts.find(streamId);
      if (held === undefined || held.end !== undefined || held.producerId !== this.#process) return;
      await this.#reader.markProducerLost(foundOf(streamId, held), held.last, true);
    } catch {
      // Redis is away: they will ask again.
    }
  }
}

interface Remotes {
  follow(found: Found, after: number, follower: Follower): Followed;
  /** @throws {StreamError} `log_unavailable` (503) if it does not end. */
  stop(found: Found, reason?: string): Promise<void>;
}

/** A stream that another process makes, or that has ended. */
class RemoteStream implements LoggedStream {
  readonly info: StreamInfo;
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
