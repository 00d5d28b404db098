/**
 * The scripts that write and read streams in Redis. Each step that must be atomic is one script.
 *
 * A key that somebody else has written may hold anything: what goes wrong with one stream is a part
 * of the reply, so that an error reply is always trouble with Redis as a whole.
 */

/** For so long after a stream has begun, the look-up of an unknown one may be repeated, in ms. */
const BEGUN_MS = 1000;
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
export const APPEND: string = `
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
    redis.call("SET", KEYS[2], "1", "PX", ${BEGUN_MS})
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
    if chat and redis.pcall("GET", chat) == id then redis.call("PEXPIRE", chat, ms) end
  end
  if last ~= final then return {"ok", last} end
end
local replies, key, at, count = {}, 3, 5, 0
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

/** A field as the store reads it: no process writes an empty one, which must not pass for none. */
const FIELD = `
local function field(value) return value == "" and "?" or value or "" end
`;

/**
 * Reads the state of a stream. For one that is not held, it sees whether Redis takes writes, because
 * the stream may be one that could not be written: `SETRANGE` of nothing writes nothing, and is
 * refused like any other write.
 */
export const FIND: string = `${FIELD}
local ok, held = pcall(redis.call, "HMGET", KEYS[1], "by", "info", "last", "end", "lost")
if not ok then return {"", "", "", "", "", "", type(held) == "table" and held.err or held} end
if not held[1] and redis.call("EXISTS", KEYS[1]) == 0 then
  local probe = redis.pcall("SETRANGE", KEYS[1], 0, "")
  if type(probe) == "table" and probe.err then return probe end
  if redis.call("EXISTS", KEYS[3]) == 1 then return false end
  return {"quiet"}
end
local ok, entries = pcall(redis.call, "XRANGE", KEYS[2], "-", "+", "COUNT", 1)
local fault = ok and "" or (type(entries) == "table" and entries.err or entries)
local first = ok and entries[1]
if ok and not first and held[3] and held[3] ~= "0" then return false end
return {
  held[1] or "", held[2] or "", held[3] or "", field(held[4]), field(held[5]),
  first and (first[2][2] or "") or "1", fault
}
`;

/** Reads the id of the latest stream of a chat. */
export const LATEST: string = `
local id = redis.pcall("GET", KEYS[1])
return type(id) == "table" and "" or id
`;

/** Reads the events after a position, and the state, of each of several streams. */
export const READ: string = `${FIELD}
local most = tonumber(ARGV[1])
local function read(meta, events, lease, from)
  local held = redis.call("HMGET", meta, "last", "end", "lost", "by")
  local pieces, bytes = {}, 0
  if not held[1] and not held[4] then return {"missing"} end
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
  return {held[1] or "", field(held[2]), field(held[3]), redis.call("EXISTS", lease), pieces}
end
local replies = {}
for i = 1, #KEYS, 3 do
  local ok, reply = pcall(read, KEYS[i], KEYS[i + 1], KEYS[i + 2], ARGV[(i + 5) / 3] .. "-0")
  if not ok then reply = {"unreadable", type(reply) == "table" and reply.err or reply} end
  replies[#replies + 1] = reply
end
return replies
`;

/**
 * Marks a stream whose process is gone, unless that process lives or has written something
 * meanwhile. If Redis has run for less than a lease, every process gets that time to renew its own.
 */
export const MARK_LOST: string = `
local caller, by, last, leaseMs, keepMs = unpack(ARGV)
local ok, held = pcall(redis.call, "HMGET", KEYS[1], "by", "last", "end", "lost")
if not ok then return 0 end
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
export const FORGET: string = `
if redis.pcall("HGET", KEYS[1], "by") ~= ARGV[1] then return 0 end
redis.call("DEL", KEYS[1], KEYS[2])
if redis.pcall("GET", KEYS[3]) == ARGV[2] then redis.call("DEL", KEYS[3]) end
return 1
`;

/** Ends a lease. */
export const LEAVE: string = `return redis.call("DEL", KEYS[1])`;
