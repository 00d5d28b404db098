/**
 * The store of `SqliteLog`: calls become turns, and messages are looked for. `schema.ts` has its
 * tables.
 *
 * A call for several streams is not one transaction but, where it is long, several: each stream's part
 * is in one.
 */
import { type Clock, systemClock } from "../../pipeline/scheduler.ts";
import type {
  AppendResult,
  EventStore,
  Producer,
  StoredStream,
  StreamAppend,
  StreamPart,
  StreamRead,
} from "../shared/event_store.ts";
import { loadModules } from "./database.ts";
import { ReplayFile } from "./file.ts";
import { Inbox } from "./inbox.ts";
import type { Tables } from "./tables.ts";
import { CALL_BYTES, TURN_BYTES, Turns } from "./turns.ts";

/** How often it is looked for what is over, in ms; sooner where the last look did not get through. */
const SWEEP_MS = 1000;
const SWEEP_AGAIN_MS = 20;
/** For so long after a write it is known that the file takes writes, in ms. */
const PROBE_MS = 1000;

/** How a file is used. */
export interface SqliteStoreOptions {
  /** The greatest size of the file, in bytes. */
  readonly maxFileBytes: number;
  /** Time and timers, for tests; by default the time of the machine, which all processes share. */
  readonly clock: Clock | undefined;
}

/** A store in a file of SQLite. */
export class SqliteStore implements EventStore {
  readonly #clock: Clock;
  readonly #file: ReplayFile;
  readonly #writes: Turns;
  readonly #reads: Turns;
  readonly #inbox: Inbox;
  #wroteMs = -Infinity;
  #sweepMs = -Infinity;

  /** @throws {TypeError} If this runtime has no `node:sqlite`. */
  constructor(path: string, { maxFileBytes, clock = systemClock }: SqliteStoreOptions) {
    const hasThread = clock === systemClock;
    const now = hasThread ? Date.now : () => Math.round(clock.now());
    this.#clock = clock;
    const modules = loadModules();
    this.#file = new ReplayFile({ modules, path, maxBytes: maxFileBytes, now, hasThread });
    this.#writes = new Turns(this.#file, clock, true);
    this.#reads = new Turns(this.#file, clock, false);
    this.#inbox = new Inbox(this.#file, clock);
  }

  async append(
    producer: Producer,
    appends: readonly StreamAppend[],
  ): Promise<readonly AppendResult[]> {
    this.#inbox.wait();
    this.#sweep();
    const results = sharesOf(appends).map(({ appends, bytes }) =>
      this.#write((tables) => {
        tables.renew(producer);
        return appends.map((append) => tables.append(producer, append));
      }, bytes)
    );
    return (await Promise.all(results)).flat();
  }

  read(
    reads: readonly StreamRead[],
    maxLength: number,
  ): Promise<readonly (StreamPart | undefined)[]> {
    this.#inbox.wait();
    return Promise.all(
      reads.map((read) => this.#reads.do((tables) => tables.read(read, maxLength), maxLength)),
    );
  }

  async find(streamId: string): Promise<StoredStream | undefined | null> {
    const found = await this.#reads.do((tables) => tables.find(streamId));
    if (found || this.#clock.now() - this.#wroteMs < PROBE_MS) return found;
    await this.#write((tables) => tables.probe());
    return found;
  }

  latest(chat: string): Promise<string | undefined> {
    return this.#reads.do((tables) => tables.latest(chat));
  }

  forget(producerId: string, streamId: string, chat: string | undefined): Promise<void> {
    return this.#write((tables) => tables.forget(producerId, streamId, chat));
  }

  markLost(
    caller: Producer,
    stream: { readonly streamId: string; readonly producerId: string; readonly last: number },
  ): Promise<boolean> {
    return this.#write((tables) => tables.markLost(caller, stream));
  }

  renew(producer: Producer): Promise<void> {
    return this.#write((tables) => {
      tables.renew(producer);
      // The lease may be too new to be written, and a file that is full would seem to be well.
      tables.probe();
    });
  }

  leave(producerId: string): Promise<void> {
    return this.#write((tables) => tables.leave(producerId));
  }

  async publish(processId: string, message: string): Promise<void> {
    if (this.#inbox.has(processId)) {
      this.#sweep();
      return this.#inbox.deliver(processId, message);
    }
    this.#inbox.wait();
    await this.#write((tables) => tables.publish(processId, message), message.length);
  }

  subscribe(processId: string, listener: (message: string) => void): Promise<void> {
    return this.#reads.do((tables) => this.#inbox.listen(tables, processId, listener));
  }

  async close(): Promise<void> {
    this.#inbox.close();
    this.#writes.close();
    this.#reads.close();
    await this.#file.close();
  }

  async #write<Result>(run: (tables: Tables) => Result, bytes = 0): Promise<Result> {
    const result = await this.#writes.do(run, bytes);
    this.#wroteMs = this.#clock.now();
    return result;
  }

  /** Deletes what is over, a little at a time. */
  async #sweep(): Promise<void> {
    if (this.#clock.now() < this.#sweepMs) return;
    this.#sweepMs = Infinity;
    let isOver = true;
    try {
      isOver = await this.#reads.do((tables) => tables.isSwept()) ||
        !await this.#writes.do((tables) => tables.sweep(), TURN_BYTES);
    } catch {
      // The file is in trouble, which the log's own calls report.
    }
    this.#sweepMs = this.#clock.now() + (isOver ? SWEEP_MS : SWEEP_AGAIN_MS);
  }
}

/** What is appended in one turn. */
interface Share {
  readonly appends: StreamAppend[];
  bytes: number;
}

/** Shares out appends among turns: each of them is in one. Without any there is a turn for the lease. */
function sharesOf(appends: readonly StreamAppend[]): Share[] {
  let share: Share = { appends: [], bytes: 0 };
  const shares = [share];
  for (const append of appends) {
    if (share.bytes >= TURN_BYTES) shares.push(share = { appends: [], bytes: 0 });
    share.appends.push(append);
    share.bytes += CALL_BYTES;
    for (const { text } of append.pieces) share.bytes += text.length;
  }
  return shares;
}
