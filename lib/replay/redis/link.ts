/**
 * The connection to Redis, with a limit on each wait; it detects outages for the rest of
 * `RedisLog`. Separate from the adapters because clients queue commands for ever while they are
 * offline, and a reader must not wait for that.
 */
import { StreamError } from "../../error.ts";
import { unref } from "../../pipeline/scheduler.ts";
import type { RedisConnection } from "./clients.ts";

/** What a link calls. No method may throw. */
export interface LinkOwner {
  /** A cheap write that is tried during an outage. */
  probe(): [command: string, args: string[]];
  /** Called when Redis responds again. */
  recovered(): void;
  /** Called once per outage, when Redis does not respond or rejects a command. */
  report(error: unknown): void;
}

/** How long a reply is waited for. */
const TIMEOUT_MS = 2000;
const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 5000;

/**
 * A connection to Redis that fails fast during an outage.
 *
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
  /** Number of commands that are waited for. */
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

  /** Whether Redis has responded without a break for so long, as far as this process knows. */
  wasUpFor(ms: number): boolean {
    return this.#state === "up" && performance.now() - this.#recoveredMs >= ms;
  }

  /**
   * Sends a command and returns its reply.
   *
   * @throws {StreamError} `log_unavailable` (503) if Redis does not reply within 2 s, or is known
   * to be down.
   */
  async send(command: string, args: string[]): Promise<unknown> {
    // A client that is offline queues its commands: nobody waits for them here, but they are sent
    // later all the same.
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
    // A connection that worked only for a moment gets no shorter backoff.
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
        // The link is down already, and that was reported.
        if (this.#state === "down") this.#retry();
      }
    }, most * (0.5 + Math.random() / 2));
    unref(this.#timer);
  }
}

function unavailable(cause?: unknown): StreamError {
  return new StreamError("log_unavailable", { retryAfter: 1, cause });
}

/** The reply, or an error after 2 s. A later reply is ignored. */
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
