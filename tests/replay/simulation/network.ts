/**
 * The way of one process to the store, with all that can happen on it: calls that are late, lost, refused,
 * carried out twice or long after, and messages that are lost, doubled or in another order. It also keeps
 * what really happened, which is what the rules are judged by.
 */
import type {
  AppendResult,
  EventStore,
  Producer,
  StoredStream,
  StreamAppend,
  StreamPart,
  StreamRead,
} from "../../../lib/replay/shared/event_store.ts";
import { type FakeServer, FakeStore } from "../../support/fake_store.ts";
import { spread, type World } from "./world.ts";

/** How bad the network of a process is. */
export interface Weather {
  /** How likely a call is late, lost on its way there or back, or carried out twice. */
  late: number;
  lost: number;
  twice: number;
  /** How likely a message is lost, doubled, or late, so that others overtake it. */
  messageLost: number;
  messageTwice: number;
  messageLate: number;
}

export const CALM: Weather = {
  late: 0,
  lost: 0,
  twice: 0,
  messageLost: 0,
  messageTwice: 0,
  messageLate: 0,
};

/** What a call's way is cut by: an error at once, or silence on the way there or back. */
export type Cut = "refused" | "requests" | "responses" | "messages";

/** A call that took so long is trouble, in ms. */
const LATE_MS = 500;
/** What a process waits for a call, in ms of its own clock. */
const TIMEOUT_MS = 2000;

/** What a network knows of the process that it belongs to. */
export interface Host {
  readonly name: string;
  /** Resolves when the process runs, which it does not while it is frozen; never once it is dead. */
  awake(): Promise<void>;
  readonly isGone: boolean;
  /** Called before a mark that was carried out is reported. */
  marked(stream: { streamId: string; producerId: string }, sentMs: number): void;
}

/** A process's way to the store. */
export class Network implements EventStore {
  weather: Weather = CALM;
  cut: Cut | undefined = undefined;
  /** How much longer each way takes. */
  slowMs = 0;
  /** When a call was last lost, refused or late, by the world's time. */
  troubleMs: number = -Infinity;
  /** When the process learned, or will, that a call has failed; oldest first, but for a little. */
  readonly #failedMs: number[] = [];
  /** The process, as the log calls it. */
  producerId: string | undefined;
  /** When events were last read. */
  readMs: number = -Infinity;
  readonly #world: World;
  readonly #host: Host;
  readonly #server: FakeServer;
  readonly #inner: FakeStore;
  readonly #chance: () => number;
  #isClosed = false;

  constructor(world: World, host: Host, server: FakeServer) {
    this.#world = world;
    this.#host = host;
    this.#server = server;
    this.#inner = new FakeStore(server);
    this.#chance = world.chance(`network ${host.name}`);
  }

  append(producer: Producer, appends: readonly StreamAppend[]): Promise<readonly AppendResult[]> {
    const what = appends.map(({ streamId, last, end }) =>
      `${streamId}.${last}${end === undefined ? "" : " end"}`
    );
    const told = (results: readonly AppendResult[]) =>
      results.map((result) => result.state === "ok" ? result.last : result.state).join();
    return this.#call("append", what.join(), () => this.#inner.append(producer, appends), told);
  }

  async read(
    reads: readonly StreamRead[],
    maxLength: number,
  ): Promise<readonly (StreamPart | undefined)[]> {
    const what = reads.map(({ streamId, after }) => `${streamId}.${after}`).join();
    const told = (parts: readonly (StreamPart | undefined)[]) =>
      parts.map((part) =>
        part === undefined
          ? "none"
          : `${part.last}${part.end === undefined ? "" : " end"}${part.isLost ? " lost" : ""}${
            part.isAlive ? "" : " no lease"
          }`
      ).join();
    const parts = await this.#call("read", what, () => this.#inner.read(reads, maxLength), told);
    this.readMs = this.#world.nowMs;
    return parts;
  }

  find(streamId: string): Promise<StoredStream | undefined | null> {
    const told = (stored: StoredStream | undefined | null) => stored ? `${stored.last}` : "none";
    return this.#call("find", streamId, () => this.#inner.find(streamId), told);
  }

  latest(chat: string): Promise<string | undefined> {
    return this.#call("latest", chat, () => this.#inner.latest(chat));
  }

  forget(producerId: string, streamId: string, chat: string | undefined): Promise<void> {
    return this.#call("forget", streamId, () => this.#inner.forget(producerId, streamId, chat));
  }

  markLost(
    caller: Producer,
    stream: { streamId: string; producerId: string; last: number },
  ): Promise<boolean> {
    const sentMs = this.#world.nowMs;
    const wasLost = () => this.#server.streams.get(stream.streamId)?.isLost === true;
    return this.#call("markLost", `${stream.streamId}.${stream.last}`, async () => {
      const before = wasLost();
      const isLost = await this.#inner.markLost(caller, stream);
      if (isLost && !before) this.#host.marked(stream, sentMs);
      return isLost;
    }, String);
  }

  renew(producer: Producer): Promise<void> {
    return this.#call("renew", "", () => this.#inner.renew(producer));
  }

  leave(producerId: string): Promise<void> {
    return this.#call("leave", "", () => this.#inner.leave(producerId));
  }

  publish(processId: string, message: string): Promise<void> {
    return this.#call("publish", "", () => this.#inner.publish(processId, message));
  }

  subscribe(processId: string, listener: (message: string) => void): Promise<void> {
    this.producerId = processId;
    return this.#call("subscribe", "", async () => {
      // A connection that is gone listens to nothing.
      if (!this.#isClosed) {
        await this.#inner.subscribe(processId, (text) => this.#carry(text, listener));
      }
    });
  }

  /** When the process had last learned, by a time, that a call had failed. */
  failedBefore(ms: number): number {
    return this.#failedMs.reduce((last, at) => at <= ms ? Math.max(last, at) : last, -Infinity);
  }

  /** The connection is gone, with or without its process. */
  close(): void {
    this.#isClosed = true;
    this.#inner.close();
  }

  /** Carries a message to the process. */
  #carry(text: string, listener: (message: string) => void): void {
    const { messageLost, messageTwice, messageLate } = this.weather;
    const deliver = async (ms: number) => {
      await this.#world.clock.sleep(ms);
      await this.#host.awake();
      if (this.#isClosed || this.cut !== undefined) return;
      this.#world.stir();
      listener(text);
    };
    const ms = () => this.#chance() < messageLate ? spread(this.#chance, 5, 900) : this.#chance();
    if (this.#chance() < messageLost) return this.#world.tell(this.#host.name, "message lost");
    deliver(ms());
    if (this.#chance() >= messageTwice) return;
    this.#world.tell(this.#host.name, "message doubled");
    deliver(ms() + 0.5);
  }

  async #call<Result>(
    method: string,
    what: string,
    run: () => Promise<Result>,
    told: (result: Result) => string = () => "ok",
  ): Promise<Result> {
    const { name } = this.#host;
    const world = this.#world;
    const { late, lost, twice } = this.weather;
    world.stir();
    if (this.#isClosed) throw new Error("The connection is closed");
    // Whatever happens, the same number of draws.
    const [there, back, isLate, isLost, isTwice, again] = Array.from(
      { length: 6 },
      this.#chance,
    ) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const extraMs = this.slowMs * (0.2 + again) + (isLate < late ? 4000 * again ** 2 : 0);
    if (extraMs > LATE_MS) this.#troubled(extraMs);
    await world.clock.sleep(0.1 + 2 * there ** 3 + extraMs / 2);
    if (this.cut === "refused") return this.#refuse(method, "The store is away");
    if (this.cut === "requests" || isLost < lost / 2) return await this.#lose(method, what, "lost");
    if (isTwice < twice) {
      world.tell(name, `${method} ${what} will be carried out again`);
      world.spawn(name, this.#again(run, 3000 * again ** 2));
    }
    let result: Result;
    try {
      result = await run();
    } catch (error) {
      return this.#refuse(method, (error as Error).message);
    }
    await world.clock.sleep(0.1 + 2 * back ** 3 + extraMs / 2);
    if (this.#isMute || (isLost >= lost / 2 && isLost < lost)) {
      return await this.#lose(method, what, "carried out, not answered");
    }
    await this.#host.awake();
    if (this.#host.isGone) return await new Promise<never>(() => {});
    if (method !== "publish" && method !== "renew") {
      world.tell(name, `${method} ${what} → ${told(result)}`);
    }
    return result;
  }

  get #isMute(): boolean {
    return this.cut === "responses" || this.cut === "requests";
  }

  async #again(run: () => Promise<unknown>, ms: number): Promise<void> {
    await this.#world.clock.sleep(ms);
    // What it returns, or fails with, reaches nobody.
    await run().catch(() => {});
  }

  /** The call is never answered. */
  #lose(method: string, what: string, how: string): Promise<never> {
    this.#world.tell(this.#host.name, `${method} ${what} ${how}`);
    this.#troubled(Infinity);
    return new Promise<never>(() => {});
  }

  async #refuse(method: string, reason: string): Promise<never> {
    this.#world.tell(this.#host.name, `${method} refused: ${reason}`);
    this.#troubled(0);
    await this.#host.awake();
    throw new Error(reason);
  }

  /** Remembers that a call fails, or is late, within so many ms. */
  #troubled(inMs: number): void {
    const atMs = this.#world.nowMs + Math.min(inMs, TIMEOUT_MS * 1.1);
    this.troubleMs = Math.max(this.troubleMs, atMs);
    // Of a call that is nearly late enough, only the process can tell.
    if (inMs === 0 || inMs > TIMEOUT_MS * 1.1) {
      this.#failedMs.push(this.#world.nowMs + Math.min(inMs, TIMEOUT_MS));
    }
  }
}
