/**
 * A store in memory for tests of `SharedLog`: several processes share one `FakeServer`, each through a
 * `FakeStore` of its own, and a test can break either.
 */
import { type Clock, systemClock } from "../../lib/pipeline/scheduler.ts";
import type {
  AppendResult,
  EventStore,
  Producer,
  StoredPiece,
  StoredStream,
  StreamAppend,
  StreamPart,
  StreamRead,
} from "../../lib/replay/shared/event_store.ts";

interface Kept {
  producerId: string;
  info: string;
  last: number;
  end: number | undefined;
  isLost: boolean;
  pieces: StoredPiece[];
  untilMs: number;
}

/** What all processes share, and the ways in which it can fail. */
export class FakeServer {
  readonly clock: Clock;
  readonly streams: Map<string, Kept> = new Map();
  readonly chats: Map<string, string> = new Map();
  /** Until when each process counts as alive. */
  readonly leases: Map<string, number> = new Map();
  readonly listeners: Map<string, (message: string) => void> = new Map();
  /** Rejects each call. */
  isDown = false;
  /** What a call takes on its way there, and again on its way back, in ms. */
  latencyMs = 0;
  /** The error with which it rejects whatever would be kept. */
  full: string | undefined;
  /** Streams whose appends are rejected, while those of others are taken. */
  readonly rejected: Set<string> = new Set();
  /** Streams whose events it cannot read. */
  readonly broken: Set<string> = new Set();
  /** What it says of how it is set. */
  fault: string | undefined;
  /** When the last stream has begun. */
  begunMs: number = -Infinity;
  /** How often each method was called, how many pieces were appended, and what was read. */
  readonly calls: Record<string, number> = {};
  pieces = 0;
  reads = 0;
  readLength = 0;
  /** When it last lost the leases. */
  startedMs: number = -Infinity;

  constructor(clock: Clock = systemClock) {
    this.clock = clock;
  }

  /** It is restarted after `kill`; leases are gone, and all else as well if it does not keep it. */
  start(keepsData: boolean): void {
    this.isDown = false;
    this.leases.clear();
    this.startedMs = this.clock.now();
    if (!keepsData) this.flush();
  }

  kill(): void {
    this.isDown = true;
    this.listeners.clear();
  }

  /** It forgets everything, and stays. */
  flush(): void {
    this.streams.clear();
    this.chats.clear();
  }

  /** It forgets the last `count` pieces of a stream, as one that has lost its last second. */
  loseLast(streamId: string, count: number): void {
    const kept = this.streams.get(streamId)!;
    kept.pieces.splice(Math.max(0, kept.pieces.length - count));
    kept.last = kept.pieces.at(-1)?.last ?? 0;
    kept.end = undefined;
  }

  kept(streamId: string): Kept | undefined {
    const kept = this.streams.get(streamId);
    if (kept === undefined || kept.untilMs > this.clock.now()) return kept;
    this.streams.delete(streamId);
    return undefined;
  }

  isAlive(processId: string): boolean {
    return (this.leases.get(processId) ?? -Infinity) > this.clock.now();
  }
}

/** How a process reaches the server. */
export interface FakeStoreOptions {
  /** Called before each call is carried out, and after it: what it throws is the caller's. */
  onCall?: (when: "before" | "after", method: string) => void | Promise<void>;
}

/** One process's way to a `FakeServer`. */
export class FakeStore implements EventStore {
  readonly #server: FakeServer;
  readonly #onCall: FakeStoreOptions["onCall"];
  readonly #heard = new Set<string>();
  /** Whether the process is cut off: it does nothing any more. */
  isCut = false;

  constructor(server: FakeServer, { onCall }: FakeStoreOptions = {}) {
    this.#server = server;
    this.#onCall = onCall;
  }

  append(
    producer: Producer,
    appends: readonly StreamAppend[],
  ): Promise<readonly AppendResult[]> {
    return this.#call("append", () => {
      if (this.#server.full !== undefined) throw new Error(this.#server.full);
      this.#renew(producer);
      return appends.map((append) => this.#append(producer, append));
    });
  }

  #append(producer: Producer, append: StreamAppend): AppendResult {
    const { streamId, chat, info, first, end, pieces } = append;
    const server = this.#server;
    if (server.rejected.has(streamId)) return { state: "failed", error: "rejected" };
    let kept = server.kept(streamId);
    if (kept !== undefined && kept.producerId !== producer.id) return { state: "taken" };
    if (kept?.isLost) return { state: "lost" };
    if (kept === undefined || (kept.last > 0 && kept.pieces.length === 0)) {
      if (info === undefined) return { state: "missing" };
      const fresh = { last: 0, end: undefined, isLost: false, pieces: [], untilMs: 0 };
      kept = { producerId: producer.id, info, ...fresh };
      server.streams.set(streamId, kept);
      if (chat !== undefined) server.chats.set(chat, streamId);
      server.begunMs = server.clock.now();
    }
    for (const piece of pieces) {
      if (piece.first > kept.last + 1 && piece.first > first) break;
      if (piece.last <= kept.last) continue;
      kept.pieces.push({ ...piece });
      kept.last = piece.last;
      server.pieces++;
    }
    kept.pieces = kept.pieces.filter(({ last }) => last >= first);
    const isEnd = end !== undefined && kept.last === append.last;
    if (isEnd) kept.end = end;
    kept.untilMs = server.clock.now() + (isEnd ? producer.keepMs : producer.liveMs);
    return { state: "ok", last: kept.last };
  }

  read(
    reads: readonly StreamRead[],
    maxLength: number,
  ): Promise<readonly (StreamPart | undefined)[]> {
    return this.#call("read", () =>
      reads.map(({ streamId, after }) => {
        const kept = this.#whole(streamId);
        if (kept === undefined) return undefined;
        const { producerId, last, end, isLost, pieces } = kept;
        if (this.#server.broken.has(streamId)) {
          return { last: 0, end, isLost, isAlive: false, pieces: [], error: "broken" };
        }
        let length = 0;
        const part = pieces.filter((piece) => {
          if (piece.last <= after || length >= maxLength) return false;
          length += piece.text.length;
          return true;
        });
        this.#server.reads++;
        this.#server.readLength += length;
        return { last, end, isLost, isAlive: this.#server.isAlive(producerId), pieces: part };
      }));
  }

  find(streamId: string): Promise<StoredStream | undefined | null> {
    return this.#call("find", () => {
      const server = this.#server;
      const kept = this.#whole(streamId);
      if (kept === undefined) {
        if (server.full !== undefined) throw new Error(server.full);
        return server.clock.now() - server.begunMs > 1000 ? null : undefined;
      }
      const { producerId, info, last, end, isLost, pieces } = kept;
      const found = { producerId, info, first: pieces[0]?.first ?? last + 1, last, end, isLost };
      return server.broken.has(streamId) ? { ...found, error: "broken" } : found;
    });
  }

  /** A stream of which no part is missing. */
  #whole(streamId: string): Kept | undefined {
    const kept = this.#server.kept(streamId);
    return kept !== undefined && kept.last > 0 && kept.pieces.length === 0 ? undefined : kept;
  }

  latest(chat: string): Promise<string | undefined> {
    return this.#call("latest", () => this.#server.chats.get(chat));
  }

  forget(producerId: string, streamId: string, chat: string | undefined): Promise<void> {
    return this.#call("forget", () => {
      const { streams, chats } = this.#server;
      if (streams.get(streamId)?.producerId !== producerId) return;
      streams.delete(streamId);
      if (chat !== undefined && chats.get(chat) === streamId) chats.delete(chat);
    });
  }

  markLost(
    caller: Producer,
    { streamId, producerId, last }: { streamId: string; producerId: string; last: number },
  ): Promise<boolean> {
    return this.#call("markLost", () => {
      const server = this.#server;
      const kept = server.kept(streamId);
      if (kept?.producerId !== producerId || kept.last !== last || kept.end !== undefined) {
        return false;
      }
      if (kept.isLost) return true;
      if (producerId !== caller.id) {
        if (server.isAlive(producerId)) return false;
        if (server.clock.now() - server.startedMs < caller.leaseMs) return false;
      }
      kept.isLost = true;
      kept.untilMs = server.clock.now() + caller.keepMs;
      return true;
    });
  }

  renew(producer: Producer): Promise<void> {
    return this.#call("renew", () => {
      if (this.#server.full !== undefined) throw new Error(this.#server.full);
      this.#renew(producer);
    });
  }

  #renew({ id, leaseMs }: Producer): void {
    this.#server.leases.set(id, this.#server.clock.now() + leaseMs);
  }

  leave(producerId: string): Promise<void> {
    return this.#call("leave", () => void this.#server.leases.delete(producerId));
  }

  publish(processId: string, message: string): Promise<void> {
    return this.#call("publish", () => this.#server.listeners.get(processId)?.(message));
  }

  subscribe(processId: string, listener: (message: string) => void): Promise<void> {
    return this.#call("subscribe", () => {
      this.#heard.add(processId);
      this.#server.listeners.set(processId, (message) => {
        if (!this.isCut) listener(message);
      });
    });
  }

  inspect(): Promise<string | undefined> {
    return this.#call("inspect", () => this.#server.fault);
  }

  close(): void {
    for (const processId of this.#heard) this.#server.listeners.delete(processId);
  }

  async #call<Result>(method: string, run: () => Result): Promise<Result> {
    const server = this.#server;
    await this.#onCall?.("before", method);
    await this.#travel();
    server.calls[method] = (server.calls[method] ?? 0) + 1;
    const result = run();
    await this.#travel();
    await this.#onCall?.("after", method);
    return result;
  }

  async #travel(): Promise<void> {
    const { clock, latencyMs } = this.#server;
    if (latencyMs > 0) {
      await new Promise<void>((resolve) => void clock.setTimer(resolve, latencyMs));
    }
    if (this.#server.isDown || this.isCut) throw new Error("The store is away");
  }
}
