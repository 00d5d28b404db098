/**
 * Messages to this process, found by looking. Separate from the store because it decides how often:
 * nothing in a file wakes another process.
 */
import type { Clock } from "../../pipeline/scheduler.ts";
import type { ReplayFile } from "./file.ts";
import type { Tables } from "./tables.ts";

/** How often it is looked for messages while somebody waits, in ms; a look takes 2 µs. */
const LOOK_MS = 20;
/** For so long after a call somebody counts as waiting: a stream that goes on is written every 3 s. */
const WAITING_MS = 5000;

/** The connection that was looked at, its version then, and the last message that it had. */
interface Seen {
  readonly tables: Tables;
  version: number;
  message: number;
}

/** The messages to the processes that listen through one store. */
export class Inbox {
  readonly #file: ReplayFile;
  readonly #clock: Clock;
  readonly #listeners = new Map<string, (message: string) => void>();
  #seen: Seen | undefined;
  #waitingUntilMs = -Infinity;
  #timer: unknown;

  constructor(file: ReplayFile, clock: Clock) {
    this.#file = file;
    this.#clock = clock;
  }

  /** Listens, in a transaction of its own: messages that come after it are heard. */
  listen(tables: Tables, process: string, listener: (message: string) => void): void {
    this.#seeTables(tables);
    this.#listeners.set(process, listener);
    this.wait();
  }

  /** Whether a process listens through this store. */
  has(process: string): boolean {
    return this.#listeners.has(process);
  }

  /** Delivers a message to a process of this store, which need not go through the file. */
  deliver(process: string, message: string): void {
    // It says that this process hears, so what others have sent is heard before.
    this.#look();
    this.#listeners.get(process)?.(message);
  }

  /** Called when somebody may wait for a message. */
  wait(): void {
    this.#waitingUntilMs = this.#clock.now() + WAITING_MS;
    if (this.#listeners.size > 0) this.#arm();
  }

  close(): void {
    this.#clock.clearTimer(this.#timer);
    this.#listeners.clear();
  }

  #arm(): void {
    this.#timer ??= this.#clock.setTimer(
      () => {
        this.#timer = undefined;
        this.#look();
        if (this.#clock.now() < this.#waitingUntilMs && this.#listeners.size > 0) this.#arm();
      },
      LOOK_MS,
      true,
    );
  }

  #look(): void {
    try {
      this.#read(this.#file.tables());
    } catch (error) {
      // Messages may get lost; the log itself makes a call soon, and reports what is wrong.
      this.#file.failed(error);
    }
  }

  #read(tables: Tables): void {
    const seen = this.#seeTables(tables);
    const version = tables.version();
    if (version === seen.version) return;
    seen.version = version;
    const after = seen.message;
    const last = seen.message = tables.lastMessage();
    if (last <= after) return;
    const heard = [...this.#listeners].flatMap(([process, listener]) =>
      tables.messages(process, after, last).map((message) => ({ message, listener }))
    );
    for (const { message, listener } of heard) listener(message);
  }

  #seeTables(tables: Tables): Seen {
    if (this.#seen?.tables === tables) return this.#seen;
    return this.#seen = { tables, version: tables.version(), message: tables.lastMessage() };
  }
}
