/**
 * The store in Redis: the names of its keys, and the scripts that write and read them. Each step
 * that must be atomic is one script.
 *
 * | key | what |
 * | --- | --- |
 * | `{prefix}stream:{id}` | hash: `by` its process, `info`, `last` event, `end` event, `lost` if it is |
 * | `{prefix}events:{id}` | entries: `f` first event, id the last event, `d` the bytes of the events as text |
 * | `{prefix}chat:{chat}` | the id of the chat's latest stream |
 * | `{prefix}process:{process}` | lease: the process lives |
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

/** The expiry is renewed once this much of it is over, in ms, and not with each write. */
const RENEW_MS = 10_000;

/**
 * Renews the lease and appends to streams. The id of an entry is its last event, so that writing it
 * twice changes nothing. Events that do not follow the last one are rejected while the producer
 * still holds the missing ones.
 *
 * A stream is passed as its name and its numbers in one argument, then its info if it has one, then
 * its texts. The reply has the number of streams, and details only of those that failed: each
 * argument and each reply costs the client in the producer's process more than it costs Redis
 * (benchmark case: redis).
 */
const APPEND = `
local by, leaseMs, liveMs, keepMs = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call("SET", KEYS[1], "1", "PX", leaseMs)
local function append(head, at, meta, events, chat)
  local id, first, final, ending = head[1], tonumber(head[2]), tonumber(head[3]), head[4]
  local held = redis.call("HMGET", meta, "by", "last", "lost")
  local last = tonumber(held[2] or 0)
  if held[1] and held[1] ~= by then return {"taken", 0} end
  if held[3] then return {"lost", 0} end
  local ttl = redis.call("PTTL", events)
  if not held[1] or (last > 0 and ttl == -2) then
    if head[5] == "0" then return {"missing", 0} end
    redis.call("DEL", meta, events)
    redis.call("HSET", meta, "by", by, "info", ARGV[at])
    if chat then redis.call("SET", chat, id) end
    last, ttl = 0, -2
  end
  at = at + head[5]
  for i = 7, #head, 2 do
    local from, to = tonumber(head[i]), tonumber(head[i + 1])
    if from > last + 1 and from > first then break end
    if to > last then
      redis.call("XADD", events, head[i + 1] .. "-0", "f", head[i], "d", ARGV[at])
      last = to
    end
    at = at + 1
  end
  redis.call("HSET", meta, "last", last)
  if first > 1 then redis.call("XTRIM", events, "MINID", first .. "-0") end
  local ms = liveMs
  if ending ~= "0" and last == final then
    redis.call("HSET", meta, "end", ending)
    ms = keepMs
  end
  if ms ~= liveMs or ttl < 0 or ttl < ms - ${RENEW_MS} then
    redis.call("PEXPIRE", meta, ms)
    redis.call("PEXPIRE", events, ms)
    if chat and redis.call("GET", chat) == id then redis.call("PEXPIRE", chat, ms) end
  end
  if last ~= final then return {"ok", last} end
end
local replies, key, at, count = {}, 2, 5, 0
while at <= #ARGV do
  local head = {}
  for word in string.gmatch(ARGV[at], "%S+") do head[#head + 1] = word end
  local chat = head[6] == "1" and KEYS[key + 2] or nil
  local ok, reply = pcall(append, head, at + 1, KEYS[key], KEYS[key + 1], chat)
  if not ok then reply = {"failed", type(reply) == "table" and reply.err or reply} end
  if reply then replies[#replies + 1] = {count, reply[1], reply[2]} end
  key = key + 2 + head[6]
  at = at + 1 + head[5] + (#head - 6) / 2
  count = count + 1
end
return {count, replies}
`;

/** Reads the state of a stream. */
const FIND = `
local held = redis.call("HMGET", KEYS[1], "by", "info", "last", "end", "lost")
if not held[1] then return false end
local first = redis.call("XRANGE", KEYS[2], "-", "+", "COUNT", 1)[1]
if not first and held[3] ~= "0" then return false end
return {held[1], held[2], held[3], held[4] or "", held[5] or "", first and first[2][2] or "1"}
`;

/** Reads the id of the latest stream of a chat. */
const LATEST = `return redis.call("GET", KEYS[1])`;

/** Reads the events after a position, and the state, of each of several streams. */
const READ = `
local most = tonumber(ARGV[1])
local function read(meta, events, lease, from)
  local held = redis.call("HMGET", meta, "last", "end", "lost")
  local pieces, bytes = {}, 0
  if not held[1] then return {"missing"} end
  if held[1] ~= "0" and redis.call("EXISTS", events) == 0 then return {"missing"} end
  repeat
    local entries = redis.call("XRANGE", events, from, "+", "COUNT", 8)
    for _, entry in ipairs(entries) do
      if bytes < most then
        pieces[#pieces + 1] = {entry[2][2], string.match(entry[1], "%d+"), entry[2][4]}
        bytes = bytes + #entry[2][4]
        from = "(" .. entry[1]
      end
    end
  until #entries < 8 or bytes >= most
  return {held[1], held[2] or "", held[3] or "", redis.call("EXISTS", lease), pieces}
end
local replies = {}
for i = 1, #KEYS, 3 do
  replies[#replies + 1] = read(KEYS[i], KEYS[i + 1], KEYS[i + 2], ARGV[(i + 5) / 3] .. "-0")
end
return replies
`;

/**
 * Marks a stream whose process is gone, unless that process lives or has written something
 * meanwhile. If Redis has run for less than a lease, every process gets that time to renew its own.
 */
const MARK_LOST = `
local caller, by, last, leaseMs, keepMs = unpack(ARGV)
local held = redis.call("HMGET", KEYS[1], "by", "last", "end", "lost")
if held[1] ~= by or held[2] ~= last or held[3] then return 0 end
if held[4] then return 1 end
if caller ~= by then
  if redis.call("EXISTS", KEYS[3]) == 1 then return 0 end
  local ok, info = pcall(redis.call, "INFO", "server")
  local seconds = ok and tonumber(string.match(info, "uptime_in_seconds:(%d+)"))
  if seconds and seconds * 1000 < tonumber(leaseMs) then return 0 end
end
redis.call("HSET", KEYS[1], "lost", "1")
redis.call("PEXPIRE", KEYS[1], keepMs)
redis.call("PEXPIRE", KEYS[2], keepMs)
return 1
`;

/** Removes a stream that was never announced to a client. */
const FORGET = `
if redis.call("HGET", KEYS[1], "by") ~= ARGV[1] then return 0 end
redis.call("DEL", KEYS[1], KEYS[2])
if redis.call("GET", KEYS[3]) == ARGV[2] then redis.call("DEL", KEYS[3]) end
return 1
`;

/** Ends a lease. */
const LEAVE = `return redis.call("DEL", KEYS[1])`;

/** The store of `RedisLog`. */
export class RedisStore implements EventStore {
  readonly #connection: RedisConnection;
  readonly #prefix: string;

  constructor(connection: RedisConnection, prefix: string) {
    this.#connection = connection;
    this.#prefix = prefix;
  }

  async append(
    producer: Producer,
    appends: readonly StreamAppend[],
  ): Promise<readonly AppendResult[]> {
    const keys = [this.#lease(producer.id)];
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
      results[Number(index)] = state === "failed"
        ? { state, error: String(value) }
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
    type Pieces = [first: string, last: string, text: string][];
    type Reply = [last: string, end: string, lost: string, lives: number, pieces: Pieces];
    const replies = await this.#run(READ, keys, args) as Reply[];
    return replies.map(([last, end, lost, lives, pieces]) =>
      last === "missing" ? undefined : {
        last: Number(last),
        end: numberOf(end),
        isLost: lost !== "",
        isAlive: Number(lives) === 1,
        pieces: pieces.map(([first, last, text]) => ({
          first: Number(first),
          last: Number(last),
          text,
        })),
      }
    );
  }

  async find(streamId: string): Promise<StoredStream | undefined> {
    const reply = await this.#run(FIND, this.#stream(streamId), []);
    if (reply === null) return undefined;
    type Reply = [by: string, info: string, last: string, end: string, lost: string, first: string];
    const [producerId, info, last, end, lost, first] = reply as Reply;
    return {
      producerId,
      info,
      first: Number(first),
      last: Number(last),
      end: numberOf(end),
      isLost: lost !== "",
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
    await this.#run(APPEND, [this.#lease(producer.id)], termsOf(producer));
  }

  async leave(producerId: string): Promise<void> {
    await this.#run(LEAVE, [this.#lease(producerId)], []);
  }

  async publish(processId: string, message: string): Promise<void> {
    await this.#connection.send("PUBLISH", [this.#inbox(processId), message]);
  }

  async subscribe(processId: string, listener: (message: string) => void): Promise<void> {
    await this.#connection.subscribe(this.#inbox(processId), listener);
  }

  async close(): Promise<void> {
    await this.#connection.close?.();
  }

  #run(script: string, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    return this.#connection.send("EVAL", [script, `${keys.length}`, ...keys, ...args]);
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

  #inbox(processId: string): string {
    return `${this.#prefix}inbox:${processId}`;
  }
}

function termsOf({ id, leaseMs, liveMs, keepMs }: Producer): string[] {
  return [id, `${leaseMs}`, `${liveMs}`, `${keepMs}`];
}

function numberOf(text: string): number | undefined {
  return text === "" ? undefined : Number(text);
}
