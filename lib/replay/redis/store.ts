/**
 * The schema of a stream in Redis: the names of its keys, and the scripts that write and read them.
 * Separate from the writer and the reader so that each step that must be atomic is one script, and
 * all scripts stand together.
 *
 * | key | what |
 * | --- | --- |
 * | `{prefix}stream:{id}` | hash: `by` its process, `info`, `last` event, `end` event, `lost` if others set it |
 * | `{prefix}events:{id}` | entries: `f` first event, id the last event, `d` the bytes of the events as text |
 * | `{prefix}chat:{owner and chat}` | the id of the chat's latest stream |
 * | `{prefix}process:{process}` | lease: the process lives |
 * | `{prefix}inbox:{process}` | channel: messages of other processes to that one |
 *
 * All of them expire. Numbers are sent as text, because each client converts the other types
 * differently.
 */
import type { RedisLink } from "./link.ts";

/** How long a process counts as alive after its last write, in ms. */
export const LEASE_MS = 10_000;
/** How long a live stream is kept beyond `keepMs` after its last write, in ms, within 10 s. */
const LIVE_MS = 60_000;
/** The expiry is renewed once this much of it is over, in ms, and not with each write. */
const RENEW_MS = 10_000;
/** The most that is read of one stream at once, in bytes. */
const READ_BYTES = 64 * 1024;

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
  if ms ~= liveMs or ttl < ms - ${RENEW_MS} then
    redis.call("PEXPIRE", meta, ms)
    redis.call("PEXPIRE", events, ms)
    if chat and redis.call("GET", chat) == id then redis.call("PEXPIRE", chat, ms) end
  end
  if last ~= final then return {"behind", last} end
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
local function read(meta, events, lease, from)
  local held = redis.call("HMGET", meta, "last", "end", "lost")
  local pieces, bytes = {}, 0
  if not held[1] then return {"missing"} end
  if held[1] ~= "0" and redis.call("EXISTS", events) == 0 then return {"missing"} end
  repeat
    local entries = redis.call("XRANGE", events, from, "+", "COUNT", 8)
    for _, entry in ipairs(entries) do
      if bytes < ${READ_BYTES} then
        pieces[#pieces + 1] = {entry[2][2], string.match(entry[1], "%d+"), entry[2][4]}
        bytes = bytes + #entry[2][4]
        from = "(" .. entry[1]
      end
    end
  until #entries < 8 or bytes >= ${READ_BYTES}
  return {held[1], held[2] or "", held[3] or "", redis.call("EXISTS", lease), pieces}
end
local replies = {}
for i = 1, #KEYS, 3 do
  replies[#replies + 1] = read(KEYS[i], KEYS[i + 1], KEYS[i + 2], ARGV[(i + 2) / 3] .. "-0")
end
return replies
`;

/**
 * Ends a stream whose process is gone, unless that process lives or has written something
 * meanwhile. If Redis has run for less than a lease, every process gets that time to renew its own.
 */
const MARK_LOST = `
local caller, by, last, text, to, leaseMs, keepMs = unpack(ARGV)
local held = redis.call("HMGET", KEYS[1], "by", "last", "end")
if held[1] ~= by or held[2] ~= last or held[3] then return 0 end
if caller ~= by then
  if redis.call("EXISTS", KEYS[3]) == 1 then return 0 end
  local ok, info = pcall(redis.call, "INFO", "server")
  local seconds = ok and tonumber(string.match(info, "uptime_in_seconds:(%d+)"))
  if seconds and seconds * 1000 < tonumber(leaseMs) then return 0 end
end
local from = string.format("%d", last + 1)
redis.call("XADD", KEYS[2], to .. "-0", "f", from, "d", text)
redis.call("HSET", KEYS[1], "last", to, "end", from, "lost", "1")
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

/** Complete events of a stream, as they are stored. */
export interface Piece {
  first: number;
  last: number;
  text: string;
}

/** What is to be written of one stream. */
export interface Append {
  streamId: string;
  owner: string | undefined;
  chatId: string | undefined;
  /** The info that is stored beside the events, if the stream is new to Redis; else empty. */
  info: string;
  /** The first event that the producer holds. */
  first: number;
  /** The last event that Redis should have after this write. */
  final: number;
  /** The first event of the end, if `final` is the last event of all. */
  end: number | undefined;
  pieces: Piece[];
}

/**
 * The result of a write. `ok`: everything was written. `behind`: Redis has only the events up to
 * `last`. `missing`: Redis does not have the stream, and needs its info. `taken`: the stream id
 * belongs to another process. `lost`: another process has marked this one as lost. `failed`: Redis
 * rejects the write.
 */
export type Appended =
  | { state: "ok" | "behind"; last: number }
  | { state: "missing" | "taken" | "lost" }
  | { state: "failed"; error: string };

/** A stream as Redis has it. */
export interface Held {
  /** The id of the process that makes the stream. */
  producerId: string;
  info: string;
  first: number;
  last: number;
  end: number | undefined;
  /** Whether the stream has ended because its process is gone. */
  isLost: boolean;
}

/** What is to be read of one stream. */
export interface Wanted {
  streamId: string;
  producerId: string;
  after: number;
}

/**
 * What comes after the wanted event, at most 64 KiB and a piece; `undefined` if Redis does not have
 * the stream.
 */
export type ReadReply = {
  last: number;
  end: number | undefined;
  isLost: boolean;
  /** Whether the process that makes the stream lives. */
  isAlive: boolean;
  pieces: Piece[];
} | undefined;

/**
 * The scripts as functions. Each throws a {@linkcode StreamError} `log_unavailable` where the link
 * does.
 */
export class RedisScripts {
  readonly #link: RedisLink;
  readonly #prefix: string;
  readonly #process: string;
  readonly #keepMs: number;

  constructor(link: RedisLink, prefix: string, process: string, keepMs: number) {
    this.#link = link;
    this.#prefix = prefix;
    this.#process = process;
    // Redis has no keys that expire at once.
    this.#keepMs = Math.max(1, Math.round(keepMs));
  }

  /** The channel on which a process gets its messages. */
  inbox(process: string): string {
    return `${this.#prefix}inbox:${process}`;
  }

  /** The renewal of the lease alone, as a command. */
  renewal(): [command: string, args: string[]] {
    return command(APPEND, [this.#lease(this.#process)], this.#terms());
  }

  async append(appends: readonly Append[]): Promise<Appended[]> {
    const keys = [this.#lease(this.#process)];
    const args = this.#terms();
    for (const { streamId, owner, chatId, info, first, final, end = 0, pieces } of appends) {
      keys.push(...this.#stream(streamId));
      if (chatId !== undefined) keys.push(this.#chat(owner, chatId));
      let head = `${streamId} ${first} ${final} ${end} ${info === "" ? 0 : 1} `;
      head += chatId === undefined ? "0" : "1";
      for (const { first, last } of pieces) head += ` ${first} ${last}`;
      args.push(head);
      if (info !== "") args.push(info);
      for (const { text } of pieces) args.push(text);
    }
    type Unwell = [index: number | string, state: string, value: unknown][];
    const [count, unwell] = await this.#link.send(...command(APPEND, keys, args)) as [
      count: unknown,
      unwell: Unwell,
    ];
    if (Number(count) !== appends.length) throw new TypeError("Redis did not answer for all");
    const replies: Appended[] = appends.map(({ final }) => ({ state: "ok", last: final }));
    for (const [index, state, value] of unwell) {
      replies[Number(index)] = state === "failed"
        ? { state, error: String(value) }
        : { state, last: Number(value) } as Appended;
    }
    return replies;
  }

  async find(streamId: string): Promise<Held | undefined> {
    const reply = await this.#link.send(...command(FIND, this.#stream(streamId), []));
    if (reply === null) return undefined;
    const [producerId, info, last, end, lost, first] = reply as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const isLost = lost !== "";
    return {
      producerId,
      info,
      first: Number(first),
      last: Number(last),
      end: numberOf(end),
      isLost,
    };
  }

  async latest(owner: string | undefined, chatId: string): Promise<string | undefined> {
    const reply = await this.#link.send(...command(LATEST, [this.#chat(owner, chatId)], []));
    return reply as string | null ?? undefined;
  }

  async read(wanted: readonly Wanted[]): Promise<ReadReply[]> {
    const keys = wanted.flatMap((
      { streamId, producerId },
    ) => [...this.#stream(streamId), this.#lease(producerId)]);
    const args = wanted.map(({ after }) => `${after + 1}`);
    type Pieces = [first: string, last: string, text: string][];
    type Reply = [last: string, end: string, lost: string, lives: number, pieces: Pieces];
    const replies = await this.#link.send(...command(READ, keys, args)) as Reply[];
    return replies.map(([last, end, lost, lives, pieces]) =>
      last === "missing" ? undefined : {
        last: Number(last),
        end: numberOf(end),
        isLost: lost !== "",
        isAlive: lives === 1,
        pieces: pieces.map(([first, last, text]) => ({
          first: Number(first),
          last: Number(last),
          text,
        })),
      }
    );
  }

  /** Ends a stream after its event `last` with exactly these `events`. Returns whether it did. */
  async markProducerLost(
    streamId: string,
    by: string,
    last: number,
    events: Piece,
  ): Promise<boolean> {
    const keys = [...this.#stream(streamId), this.#lease(by)];
    const numbers = [`${events.last}`, `${LEASE_MS}`, `${this.#keepMs}`];
    const args = [this.#process, by, `${last}`, events.text, ...numbers];
    return await this.#link.send(...command(MARK_LOST, keys, args)) === 1;
  }

  /** Removes a stream of this process. */
  async forget(
    streamId: string,
    owner: string | undefined,
    chatId: string | undefined,
  ): Promise<void> {
    const keys = [...this.#stream(streamId), this.#chat(owner, chatId)];
    await this.#link.send(...command(FORGET, keys, [this.#process, streamId]));
  }

  /** Ends the lease of this process. */
  async leave(): Promise<void> {
    const lease = this.#lease(this.#process);
    await this.#link.send(...command(`return redis.call("DEL", KEYS[1])`, [lease], []));
  }

  #stream(streamId: string): [meta: string, events: string] {
    return [`${this.#prefix}stream:${streamId}`, `${this.#prefix}events:${streamId}`];
  }

  /** The key of a chat; without a chat, a key that no chat has. */
  #chat(owner: string | undefined, chatId: string | undefined): string {
    return `${this.#prefix}chat:${chatId === undefined ? "" : JSON.stringify([owner, chatId])}`;
  }

  #lease(process: string): string {
    return `${this.#prefix}process:${process}`;
  }

  #terms(): string[] {
    return [this.#process, LEASE_MS, this.#keepMs + LIVE_MS, this.#keepMs].map(String);
  }
}

function command(script: string, keys: string[], args: string[]): [string, string[]] {
  return ["EVAL", [script, `${keys.length}`, ...keys, ...args]];
}

function numberOf(text: string): number | undefined {
  return text === "" ? undefined : Number(text);
}
