/**
 * The way to Redis, with a limit on each wait: what the rest of `RedisLog` knows of outages. It stands
 * apart because clients queue for ever while they are offline, and a reader must not.
 */
import { StreamError } from "../../error.ts";
import { unref } from "../../pipeline/scheduler.ts";
import type { RedisConnection } from "./clients.ts";

/** What a link calls. None of it may throw. */
export interface LinkOwner {
  /** A write that costs nothing: it is tried during an outage. */
  probe(): [command: string, args: string[]];
  /** Redis answers again. */
  recovered(): void;
  /** Redis does not answer, or refuses: told once an outage. */
  report(error: unknown): void;
}

/** How long an answer is waited for. */
const TIMEOUT_MS = 2000;
const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 5000;

/**
 * ```
 *   up ──a command failed, or took 2 s──▶ down       one command at a time is let through, and a probe
 *    ▲                                      │        goes after 100 ms to 5 s of waiting
 *    └─────────── one succeeded ────────────┘
 * ```
 */
export class RedisLink {
  readonly #connection: RedisConnection;
  readonly #owner: LinkOwner;
  #state: "up" | "down" | "closed" = "up";
  #recoveredMs = -Infinity;
  /** Commands that are waited for. */
  #pending = 0;
  #tries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: RedisConnection, owner: LinkOwner) {
    this.#connection = connection;
    this.#owner = owner;
  }

  get isUp(): boolean {
    return this.#state === "up";
  }

  /** Whether Redis has answered without a break for so long, as far as this process knows. */
  wasUpFor(ms: number): boolean {
    return this.#state === "up" && performance.now() - this.#recoveredMs >= ms;
  }

  /** @throws {StreamError} `log_unavailable` (503) if Redis fails to answer within 2 s, or is known to be away. */
  async send(command: string, args: string[]): Promise<unknown> {
    // What is queued in a client that is offline is forgotten here, and sent all the same later.
    if (this.#state === "closed" || (this.#state === "down" && this.#pending > 0)) {
      throw unavailable();
    }
    this.#pending++;
    try {
      const reply = await within(this.#connection.send(command, args));
      this.#up();
      return reply;
    } catch (error) {
      this.#down(error);
      throw unavailable(error);
    } finally {
      this.#pending--;
    }
  }

  close(): void {
    this.#state = "closed";
    clearTimeout(this.#timer);
  }

  #up(): void {
    if (this.#state !== "down") return;
    this.#state = "up";
    this.#recoveredMs = performance.now();
    clearTimeout(this.#timer);
    this.#owner.recovered();
  }

  #down(error: unknown): void {
    if (this.#state !== "up") return;
    this.#state = "down";
    // What works only for a moment is not tried faster for it.
    if (performance.now() - this.#recoveredMs > LAST_BACKOFF_MS) this.#tries = 0;
    this.#retry();
    this.#owner.report(error);
  }

  #retry(): void {
    const most = Math.min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#tries++);
    this.#timer = setTimeout(async () => {
      try {
        await this.send(...this.#owner.probe());
      } catch {
        // It is known to be down already.
        if (this.#state === "down") this.#retry();
      }
    }, most * (0.5 + Math.random() / 2));
    unref(this.#timer);
  }
}

function unavailable(cause?: unknown): StreamError {
  return new StreamError("log_unavailable", { retryAfter: 1, cause });
}

/** The answer, or an error after 2 s. A late answer is nobody's any more. */
function within(answer: Promise<unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`Redis did not answer within ${TIMEOUT_MS} ms`)),
      TIMEOUT_MS,
    );
    unref(timer);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
