/**
 * Which streams a handler takes on, and how it drains. Separate from the streams because what counts
 * here is only that one begins, joins and ends.
 */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import type { OpenStream, StreamObserver } from "../http/replay_log.ts";
import { type Clock, systemClock } from "../pipeline/scheduler.ts";
import { StreamLimit, type StreamLimits } from "./stream_limit.ts";

/** Opens a stream, and tells the observer when it begins and ends. */
export type OpenFunction = (observer: StreamObserver) => Promise<Response>;

/**
 * The open streams of a handler.
 *
 * `begin()` and `join()` take a place, open the stream, and give the place back when the stream ends
 * or does not come about. The state goes one way, from `serving` over `leaving` to `draining`: a leaving
 * handler says that it drains, and still takes everything; a draining one begins no stream, and still
 * lets clients join those that are open.
 */
export class Admission {
  #state: "serving" | "leaving" | "draining" = "serving";
  readonly #live = new Set<OpenStream>();
  /** Streams that are open, and requests that were read and are about to open one. */
  readonly #begun: StreamLimit;
  /**
   * Clients that resume or join a stream. Counted separately, so that a full server still takes
   * back those that lost their connection.
   */
  readonly #joined: StreamLimit;
  /**
   * Requests that stop a stream, which may have to look for it elsewhere. Counted separately, so that
   * a client can stop the stream that it reads.
   */
  readonly #stopping: StreamLimit;
  /** The calls of `drain()` that wait for the last stream. */
  readonly #drains = new Set<() => void>();

  readonly #clock: Clock;

  constructor(limits: StreamLimits, clock: Clock = systemClock) {
    this.#clock = clock;
    this.#begun = new StreamLimit(limits);
    this.#joined = new StreamLimit(limits);
    this.#stopping = new StreamLimit(limits);
  }

  /** Whether `drain()` was called. */
  get isLeaving(): boolean {
    return this.#state !== "serving";
  }

  /**
   * Checks that `owner` may begin a stream now. To be called before the body is read, so that a full
   * server reads none; a body takes time, so it takes no place yet.
   *
   * @throws {StreamError} As {@linkcode begin} does.
   */
  checkBegin(owner: string | undefined): void {
    this.#checkServing();
    this.#begun.check(owner);
  }

  /**
   * Opens a stream for `owner`, whose request was read.
   *
   * @throws {StreamError} `shutting_down` while draining, `too_many_streams` past a limit.
   */
  async begin(owner: string | undefined, open: OpenFunction): Promise<Response> {
    this.#checkServing();
    return await this.#admit(this.#begun, owner, open);
  }

  #checkServing(): void {
    if (this.#state === "draining") throw new StreamError("shutting_down", { retryAfter: 1 });
  }

  /**
   * Checks that a client of `owner` may join a stream now, before its body is read.
   *
   * @throws {StreamError} As {@linkcode join} does.
   */
  checkJoin(owner: string | undefined): void {
    this.#joined.check(owner);
  }

  /**
   * Lets a client of `owner` join an open stream, also while draining.
   *
   * @throws {StreamError} `too_many_streams` past a limit.
   */
  async join(owner: string | undefined, open: OpenFunction): Promise<Response> {
    return await this.#admit(this.#joined, owner, open);
  }

  /**
   * Lets a client of `owner` stop a stream, also while draining.
   *
   * @throws {StreamError} `too_many_streams` past a limit.
   */
  async stop<Result>(owner: string | undefined, run: () => Promise<Result>): Promise<Result> {
    this.#stopping.take(owner);
    try {
      return await run();
    } finally {
      this.#stopping.free(owner);
    }
  }

  /** Opens a stream in a place of `limit`, which it gives back when it ends or does not come about. */
  async #admit(
    limit: StreamLimit,
    owner: string | undefined,
    open: OpenFunction,
  ): Promise<Response> {
    limit.take(owner);
    const place = new Place(this, limit, owner);
    try {
      return await open(place);
    } finally {
      if (!place.isOpen) limit.free(owner);
    }
  }

  /**
   * Called when a stream opens in a place of `limit`.
   *
   * @throws {StreamError} `shutting_down` if it is a new one, and a drain has begun: checking the input
   * may take time.
   */
  opened(stream: OpenStream, limit: StreamLimit): void {
    if (limit === this.#begun) this.#checkServing();
    this.#live.add(stream);
  }

  /** Called when such a stream has ended. */
  ended(stream: OpenStream): void {
    this.#live.delete(stream);
    if (this.#live.size > 0) return;
    for (const drained of this.#drains) drained();
  }

  /**
   * After `delayMs` begins no further stream, and resolves when the open ones have ended, by force after
   * another `timeoutMs`.
   */
  async drain(timeoutMs: number, delayMs: number): Promise<void> {
    if (delayMs > 0 && this.#state !== "draining") {
      this.#state = "leaving";
      active.timers++;
      await new Promise<void>((resolve) => this.#clock.setTimer(resolve, delayMs));
      active.timers--;
    }
    this.#state = "draining";
    if (this.#live.size > 0 && timeoutMs > 0) await this.#drained(timeoutMs);
    for (const stream of this.#live) stream.shutDown(new StreamError("shutting_down"));
  }

  /** Resolves when no stream is open, or after `timeoutMs`. */
  #drained(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        if (!this.#drains.delete(done)) return;
        this.#clock.clearTimer(timer);
        active.timers--;
        resolve();
      };
      const timer = this.#clock.setTimer(done, timeoutMs);
      active.timers++;
      this.#drains.add(done);
    });
  }
}

/** The place of a stream: all that an open one holds of its admission. Closures would be 0.5 KB on Bun. */
class Place implements StreamObserver {
  /** Whether a stream is in it, which gives it back. */
  isOpen = false;
  readonly #admission: Admission;
  readonly #limit: StreamLimit;
  readonly #owner: string | undefined;

  constructor(admission: Admission, limit: StreamLimit, owner: string | undefined) {
    this.#admission = admission;
    this.#limit = limit;
    this.#owner = owner;
  }

  onOpen(stream: OpenStream): void {
    this.#admission.opened(stream, this.#limit);
    this.isOpen = true;
  }

  onEnd(stream: OpenStream): void {
    this.#limit.free(this.#owner);
    this.#admission.ended(stream);
  }
}
