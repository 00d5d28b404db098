/**
 * The store in Redis: the names of its keys, and what its scripts are sent and reply.
 *
 * | key | what |
 * | --- | --- |
 * | `{prefix}stream:{id}` | hash: `by` its process, `info`, `last` event, `end` event, `lost` if it is |
 * | `{prefix}events:{id}` | entries: `f` first event, id the last event, `d` the bytes of the events as text |
 * | `{prefix}chat:{chat}` | the id of the chat's latest stream |
 * | `{prefix}process:{process}` | lease: the process lives |
 * | `{prefix}begun` | there is one for a second after each new stream |
 * | `{prefix}inbox:{process}` | channel: messages of other processes to that one |
 *
 * All of them expire. Numbers are sent as text, because each client converts the other types
 * differently.
 */
import type {
  AppendResult,
  EventStore,
  Producer,
  StoredStream,
  StreamAppend,
  StreamPart,
  StreamRead,
} from "../shared/event_store.ts";
import type { RedisConnection } from "./clients.ts";
import { explained, isElsewhere, isOutage, lacksRight } from "./replies.ts";
import { APPEND, FIND, FORGET, LATEST, LEAVE, MARK_LOST, READ } from "./scripts.ts";

/** How often a new connection is made while the server takes no writes, in ms. */
const RECONNECT_MS = 1000;

/** The store of `RedisLog`. */
export class RedisStore implements EventStore {
  readonly #connection: RedisConnection;
  readonly #prefix: string;
  #reconnectedMs = 0;

  constructor(connection: RedisConnection, prefix: string) {
    this.#connection = connection;
    this.#prefix = prefix;
  }

  async append(
    producer: Producer,
    appends: readonly StreamAppend[],
  ): Promise<readonly AppendResult[]> {
    const keys = [this.#lease(producer.id), this.#begun];
    const args = termsOf(producer);
    for (const { streamId, chat, info, first, last, end = 0, pieces } of appends) {
      keys.push(...this.#stream(streamId));
      if (chat !== undefined) keys.push(this.#chat(chat));
      let head = `${streamId} ${first} ${last} ${end} ${info === undefined ? 0 : 1} `;
      head += chat === undefined ? "0" : "1";
      for (const { first, last } of pieces) head += ` ${first} ${last}`;
      args.push(head);
      if (info !== undefined) args.push(info);
      for (const { text } of pieces) args.push(text);
    }
    type Detail = [index: number | string, state: string, value: unknown];
    const [count, details] = await this.#run(APPEND, keys, args) as [unknown, Detail[]];
    if (Number(count) !== appends.length) throw new TypeError("Redis did not reply for all");
    const results: AppendResult[] = appends.map(({ last }) => ({ state: "ok", last }));
    for (const [index, state, value] of details) {
      if (state === "failed" && isOutage(String(value))) {
        throw this.#failed(new Error(String(value)));
      }
      results[Number(index)] = state === "failed"
        ? { state, error: textOf(explained(value, this.#prefix)) }
        : state === "ok"
        ? { state, last: Number(value) }
        : { state } as AppendResult;
    }
    return results;
  }

  async read(
    reads: readonly StreamRead[],
    maxLength: number,
  ): Promise<readonly (StreamPart | undefined)[]> {
    const keys = reads.flatMap((
      { streamId, producerId },
    ) => [...this.#stream(streamId), this.#lease(producerId)]);
    const args = [`${maxLength}`, ...reads.map(({ after }) => `${after + 1}`)];
    const replies = await this.#run(READ, keys, args) as unknown[];
    return replies.map((reply) => this.#partOf(reply));
  }

  #partOf(reply: unknown): StreamPart | undefined {
    const [last, end, lost, lives, pieces] = reply as unknown[];
    if (last === "missing") return undefined;
    if (last === "unreadable") {
      this.#checkOne(String(end));
      return {
        last: 0,
        end: undefined,
        isLost: false,
        isAlive: false,
        pieces: [],
        error: `${end}`,
      };
    }
    return {
      last: numberOf(last),
      end: end === "" ? undefined : numberOf(end),
      isLost: lost !== "",
      isAlive: Number(lives) === 1,
      pieces: (pieces as [first: unknown, last: unknown, text: string][]).map((
        [first, last, text],
      ) => ({ first: numberOf(first), last: numberOf(last), text })),
    };
  }

  async find(streamId: string): Promise<StoredStream | undefined | null> {
    const reply = await this.#run(FIND, [...this.#stream(streamId), this.#begun], []);
    if (reply === null) return undefined;
    const [producerId, info, last, end, lost, first, fault] = reply as string[];
    if (producerId === "quiet") return null;
    if (fault !== "") this.#checkOne(fault!);
    const firstEvent = numberOf(first);
    const error = fault || (isNaN(firstEvent) ? "its first entry has no number" : undefined);
    return {
      producerId: producerId!,
      info: info!,
      first: error === undefined ? firstEvent : 1,
      last: numberOf(last),
      end: end === "" ? undefined : numberOf(end),
      isLost: lost !== "",
      ...error === undefined ? {} : { error },
    };
  }

  async latest(chat: string): Promise<string | undefined> {
    const reply = await this.#run(LATEST, [this.#chat(chat)], []);
    return reply as string | null ?? undefined;
  }

  async forget(producerId: string, streamId: string, chat = ""): Promise<void> {
    await this.#run(FORGET, [...this.#stream(streamId), this.#chat(chat)], [producerId, streamId]);
  }

  async markLost(
    { id, leaseMs, keepMs }: Producer,
    { streamId, producerId, last }: { streamId: string; producerId: string; last: number },
  ): Promise<boolean> {
    const keys = [...this.#stream(streamId), this.#lease(producerId)];
    const args = [id, producerId, `${last}`, `${leaseMs}`, `${keepMs}`];
    return Number(await this.#run(MARK_LOST, keys, args)) === 1;
  }

  async renew(producer: Producer): Promise<void> {
    await this.#run(APPEND, [this.#lease(producer.id), this.#begun], termsOf(producer));
  }

  async leave(producerId: string): Promise<void> {
    await this.#run(LEAVE, [this.#lease(producerId)], []);
  }

  async publish(processId: string, message: string): Promise<void> {
    await this.#send("PUBLISH", [this.#inbox(processId), message]);
  }

  async subscribe(processId: string, listener: (message: string) => void): Promise<void> {
    await this.#connection.subscribe(this.#inbox(processId), listener);
  }

  async close(): Promise<void> {
    await this.#connection.close?.();
  }

  async inspect(): Promise<string | undefined> {
    const info = String(await this.#connection.send("INFO", ["memory"]));
    const [, policy = "noeviction"] = /^maxmemory_policy:(\S+)/m.exec(info) ?? [];
    if (policy === "noeviction") return undefined;
    return `Redis may evict streams and leases that are in use: its maxmemory-policy is ${policy}, ` +
      "and should be noeviction";
  }

  #run(script: string, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    return this.#send("EVAL", [script, `${keys.length}`, ...keys, ...args]);
  }

  async #send(command: string, args: string[]): Promise<unknown> {
    try {
      return await this.#connection.send(command, args);
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Throws what is said of one stream if it is true of all. */
  #checkOne(fault: string): void {
    if (isOutage(fault) || lacksRight(fault)) throw this.#failed(new Error(fault));
  }

  #failed(error: unknown): unknown {
    const nowMs = Date.now();
    if (isElsewhere(error) && Math.abs(nowMs - this.#reconnectedMs) > RECONNECT_MS) {
      this.#reconnectedMs = nowMs;
      Promise.resolve(this.#connection.reconnect?.()).catch(() => {
        // The next call will fail, or find the connection made by then.
      });
    }
    return explained(error, this.#prefix);
  }

  #stream(streamId: string): [meta: string, events: string] {
    return [`${this.#prefix}stream:${streamId}`, `${this.#prefix}events:${streamId}`];
  }

  /** The key of a chat; of `""`, a key that no chat has. */
  #chat(chat: string): string {
    return `${this.#prefix}chat:${chat}`;
  }

  #lease(processId: string): string {
    return `${this.#prefix}process:${processId}`;
  }

  get #begun(): string {
    return `${this.#prefix}begun`;
  }

  #inbox(processId: string): string {
    return `${this.#prefix}inbox:${processId}`;
  }
}

function termsOf({ id, leaseMs, liveMs, keepMs }: Producer): string[] {
  return [id, `${leaseMs}`, `${liveMs}`, `${keepMs}`];
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A number as the scripts write it; all else is `NaN`, which the log takes for unreadable. */
function numberOf(text: unknown): number {
  return /^(0|[1-9]\d{0,14})$/.test(String(text)) ? Number(text) : NaN;
}
