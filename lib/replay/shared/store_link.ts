/**
 * The calls of a store, with a limit on each wait; it detects outages for the rest of `SharedLog`.
 * Separate from the log because clients of a server queue commands for ever while they are offline,
 * and a reader must not wait for that.
 */
import type { StreamError } from "../../error.ts";
import type { Clock } from "../../pipeline/scheduler.ts";
import type { EventStore, Producer } from "./event_store.ts";
import { replayError } from "../codes.ts";
import { publish } from "../../diagnostics.ts";
import { times, totals } from "../../totals.ts";

/** What a link calls. No method may throw. */
export interface LinkOwner {
  /** Called when the store responds again. */
  recovered(): void;
  /** Called once per outage, when the store does not respond or rejects a call. */
  report(error: unknown): void;
}

/** How long a call is waited for. */
const TIMEOUT_MS = 2000;
/** So much later than it was due, a timer says that this process was held up: its loop, or all of it. */
const HELD_UP_MS = 500;
const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 5000;
/** The shortest time between two renewals while reads succeed. */
const PROBE_MS = 1000;

/**
 * A store that fails fast during an outage.
 *
 * ```
 *   up ──a call failed, or took 2 s──▶ down       one call at a time is let through, and the lease is
 *    ▲                                   │        renewed after 100 ms to 5 s of waiting
 *    └──────── a write succeeded ────────┘
 * ```
 */
export class StoreLink {
  /** This process, as the store knows it. */
  readonly producer: Producer;
  readonly clock: Clock;
  readonly #store: EventStore;
  readonly #owner: LinkOwner;
  #state: "up" | "down" | "closed" = "up";
  #recoveredMs = -Infinity;
  /** Number of calls that are waited for. */
  #pending = 0;
  #tries = 0;
  #probedMs = -Infinity;
  #timer: unknown;

  constructor(store: EventStore, producer: Producer, clock: Clock, owner: LinkOwner) {
    this.#store = store;
    this.producer = producer;
    this.clock = clock;
    this.#owner = owner;
  }

  get isUp(): boolean {
    return this.#state === "up";
  }

  /** Whether the store has responded without a break for so long, as far as this process knows. */
  wasUpFor(ms: number): boolean {
    return this.#state === "up" && this.clock.now() - this.#recoveredMs >= ms;
  }

  /**
   * Calls the store and returns its result. That does not end an outage: a store may serve reads and
   * refuse writes, as a full one does, or a replica.
   *
   * @throws {StreamError} `log_unavailable` (503) if the store does not respond within 2 s, or is
   * known to be down.
   */
  call<Result>(run: (store: EventStore) => Promise<Result>): Promise<Result> {
    return this.#call(run, false);
  }

  /**
   * The same for `append` and `renew`: if it succeeds, the outage is over.
   *
   * @throws {StreamError} `log_unavailable` (503), as with {@linkcode call}.
   */
  write<Result>(run: (store: EventStore) => Promise<Result>): Promise<Result> {
    return this.#call(run, true);
  }

  async #call<Result>(
    run: (store: EventStore) => Promise<Result>,
    isWrite: boolean,
  ): Promise<Result> {
    // A client that is offline queues its commands: nobody waits for them here, but they are sent
    // later all the same.
    if (this.#state === "closed" || (this.#state === "down" && this.#pending > 0)) {
      throw unavailable();
    }
    this.#pending++;
    const startMs = this.clock.now();
    let result: "ok" | "failed" = "failed";
    try {
      const value = await this.#within(run(this.#store));
      result = "ok";
      if (isWrite) this.#up();
      else this.#probeSoon();
      return value;
    } catch (error) {
      this.#down(error);
      throw unavailable(error);
    } finally {
      this.#pending--;
      totals.storeCalls[result]++;
      times.storeCall.observe((this.clock.now() - startMs) / 1000);
    }
  }

  close(): void {
    this.#state = "closed";
    this.clock.clearTimer(this.#timer);
  }

  /** The result, or an error after 2 s. A later result is ignored. */
  #within<Result>(result: Promise<Result>): Promise<Result> {
    const { clock } = this;
    return new Promise((resolve, reject) => {
      let timer: unknown;
      const wait = (isLast: boolean) => {
        const dueMs = clock.now() + TIMEOUT_MS;
        const expire = () => {
          // The response may have come meanwhile, and timers run before it is read.
          if (!isLast && clock.now() - dueMs >= HELD_UP_MS) wait(true);
          else reject(new Error(`The store did not respond within ${TIMEOUT_MS} ms`));
        };
        timer = clock.setTimer(expire, TIMEOUT_MS, true);
      };
      wait(false);
      result.then(resolve, reject).finally(() => clock.clearTimer(timer));
    });
  }

  #up(): void {
    if (this.#state !== "down") return;
    this.#state = "up";
    this.#recoveredMs = this.clock.now();
    publish("spillway:store:recovery", () => ({}));
    this.clock.clearTimer(this.#timer);
    this.#owner.recovered();
  }

  #down(error: unknown): void {
    if (this.#state !== "up") return;
    this.#state = "down";
    totals.storeOutages++;
    publish("spillway:store:outage", () => ({ error }));
    // A store that worked only for a moment gets no shorter backoff.
    if (this.clock.now() - this.#recoveredMs > LAST_BACKOFF_MS) this.#tries = 0;
    this.#retry();
    this.#owner.report(error);
  }

  #retry(): void {
    const mostMs = Math.min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#tries++);
    const random = this.clock.random?.() ?? Math.random();
    this.#arm(mostMs * (0.5 + random / 2));
  }

  #arm(ms: number): void {
    this.clock.clearTimer(this.#timer);
    this.#timer = this.clock.setTimer(() => this.#probe(), ms, true);
  }

  async #probe(): Promise<void> {
    this.#probedMs = this.clock.now();
    try {
      await this.write((store) => store.renew(this.producer));
    } catch {
      // The link is down already, and that was reported.
      if (this.#state === "down") this.#retry();
    }
  }

  /** Called when a read succeeds: a store that serves reads may take writes as well. */
  #probeSoon(): void {
    if (this.#state !== "down" || this.clock.now() - this.#probedMs < PROBE_MS) return;
    this.#probedMs = this.clock.now();
    this.#arm(0);
  }
}

function unavailable(cause?: unknown): StreamError {
  return replayError("log_unavailable", { retryAfter: 1, cause });
}
