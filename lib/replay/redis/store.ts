/**
 * Everything that is said to Redis about streams: the names of its keys, and the scripts that write and
 * read them. They stand apart so that each step that must not be torn is one script, on one page.
 *
 * | key | what |
 * | --- | --- |
 * | `{prefix}stream:{id}` | hash: `by` the process that makes it, `info`, `last` event, `end` event once it has ended, `lost` if another process said so |
 * | `{prefix}events:{id}` | stream: an entry has whole events, `f` the number of the first, its id that of the last, `d` their bytes as text |
 * | `{prefix}chat:{owner and chat}` | the id of the chat's latest stream |
 * | `{prefix}process:{process}` | lease: the process lives |
 * | `{prefix}inbox:{process}` | channel: what others tell that process |
 *
 * All of them expire. Numbers travel as text: each client has its own idea of the others.
 */
import type { RedisLink } from "./link.ts";

/** How long a process counts as alive after its last word, in ms. */
export const LEASE_MS = 10_000;
/** What a live stream is kept for beyond `keepMs` after its last word, 10 s more or less. */
const LIVE_MS = 60_000;
/** The expiry is put off when so much of it is over, and not with each write. */
const RENEW_MS = 10_000;
/** What is read of one stream in one go. */
const READ_BYTES = 64 * 1024;

/**
 * Renews the lease and appends to streams. The id of an entry is its last event, so that writing it
 * twice changes nothing; and what does not follow the last event is refused while the producer still
 * holds what is missing.
 *
 * A stream comes as its name and its numbers in one argument, then its info if it has one, then its texts; and
 * beside how many they were, only what is not well is answered for: each argument and each answer costs the client
 * in the producer's process more than it costs Redis (benchmark case: redis).
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

/** What is known of a stream. */
const FIND = `
local held = redis.call("HMGET", KEYS[1], "by", "info", "last", "end", "lost")
if not held[1] then return false end
local first = redis.call("XRANGE", KEYS[2], "-", "+", "COUNT", 1)[1]
if not first and held[3] ~= "0" then return false end
return {held[1], held[2], held[3], held[4] or "", held[5] or "", first and first[2][2] or "1"}
`;

/** The latest stream of a chat. */
const LATEST = `return redis.call("GET", KEYS[1])`;

/** What comes after an event, of each of some streams, and how they are. */
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
 * Ends a stream whose process is gone, unless that lives, or has said something meanwhile. A Redis that
 * is younger than a lease gives it the time to say that it lives.
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

/** Takes a stream back. */
const FORGET = `
if redis.call("HGET", KEYS[1], "by") ~= ARGV[1] then return 0 end
redis.call("DEL", KEYS[1], KEYS[2])
if redis.call("GET", KEYS[3]) == ARGV[2] then redis.call("DEL", KEYS[3]) end
return 1
`;

/** Whole events of a stream, as they are kept. */
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
  /** What is kept beside the events, where the stream is new to Redis; else empty. */
  info: string;
  /** The first event that the producer holds. */
  first: number;
  /** The last event that Redis should have after this. */
  final: number;
  /** From where the events say how the stream ended, if `final` is the last event of all. */
  end: number | undefined;
  pieces: Piece[];
}

/**
 * What became of it. `ok` all is there; `behind` Redis has come to event `last` only; `missing` Redis does
 * not know the stream, and wants its info; `taken` the name is another process's; `lost` another process
 * has said that this one is gone; `failed` Redis refuses.
 */
export type Appended =
  | { state: "ok" | "behind"; last: number }
  | { state: "missing" | "taken" | "lost" }
  | { state: "failed"; error: string };

/** A stream as Redis knows it. */
export interface Held {
  /** The process that makes it. */
  producerId: string;
  info: string;
  first: number;
  last: number;
  end: number | undefined;
  /** Whether it has ended because its process is gone. */
  isLost: boolean;
}

/** What is to be read. */
export interface Wanted {
  streamId: string;
  producerId: string;
  after: number;
}

/** What comes after the wanted event, at most 64 KiB and a piece; `undefined` where the stream is not known. */
export type ReadReply = {
  last: number;
  end: number | undefined;
  isLost: boolean;
  /** Whether the process that makes it lives. */
  isAlive: boolean;
  pieces: Piece[];
} | undefined;

/** The scripts as functions. Each throws a {@linkcode StreamError} `log_unavailable` where the link does. */
export class RedisScripts {
  readonly #link: RedisLink;
  readonly #prefix: string;
  readonly #process: string;
  readonly #keepMs: number;

  constructor(link: RedisLink, prefix: string, process: string, keepMs: number) {
    this.#link = link;
    this.#prefix = prefix;
    this.#process = process;
    // Redis has no such thing as a key that expires at once.
    this.#keepMs = Math.max(1, Math.round(keepMs));
  }

  /** The channel on which a process is told things. */
  inbox(process: string): string {
    return `${this.#prefix}inbox:${process}`;
  }

  /** The lease alone, as a command. */
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

  /** Ends a stream after its event `last` with these `events` and no others. Answers whether it did. */
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

  /** Takes back a stream of this process. */
  async forget(
    streamId: string,
    owner: string | undefined,
    chatId: string | undefined,
  ): Promise<void> {
    const keys = [...this.#stream(streamId), this.#chat(owner, chatId)];
    await this.#link.send(...command(FORGET, keys, [this.#process, streamId]));
  }

  /** Says that this process is no more. */
  async leave(): Promise<void> {
    const lease = this.#lease(this.#process);
    await this.#link.send(...command(`return redis.call("DEL", KEYS[1])`, [lease], []));
  }

  #stream(streamId: string): [meta: string, events: string] {
    return [`${this.#prefix}stream:${streamId}`, `${this.#prefix}events:${streamId}`];
  }

  /** Where there is no chat, one that no chat is called. */
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
