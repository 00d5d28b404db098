/**
 * A seeded fuzzer of what a shared log finds in its store: noise, and fields that are nearly right, in
 * every field of a stream, in chats, in leases and in messages between processes. Whatever stands there,
 * a client gets a named failure in time, and no other stream notices.
 */
import assert from "node:assert/strict";
import { formatInfo } from "../../../lib/replay/shared/stored.ts";
import { same } from "../../support/event_reader.ts";
import type { Machine, Paced } from "../../support/machines.ts";
import { hostile, int, pick, random } from "../../support/random.ts";

export type Chance = () => number;

/** A stream as it is put into a store, which may take any of its values for a text. */
export interface Garbage {
  readonly streamId: string;
  /** Whether the store may damage it further. */
  readonly isFree: boolean;
  /** `by`, `info`, `last`, `end` and `lost`; what is absent is not written. */
  readonly fields: Record<string, unknown>;
  readonly entries: { first: unknown; last: unknown; text: unknown }[];
}

/** A store that garbage is put into. */
export interface GarbageSite {
  /** Two processes that share it. */
  readonly machines: readonly [Machine, Machine];
  /** Source of a stream that nobody writes into. */
  paced(count: number, everyMs: number): Paced;
  sleep(ms: number): Promise<void>;
  put(garbage: Garbage, chance: Chance): unknown;
  chat(key: string, value: string, chance: Chance): unknown;
  /** Lets a process seem alive for so long. */
  lease(processId: string, ms: number): unknown;
  processes(): readonly string[];
  say(processId: string, message: string): unknown;
}

/** What was done to a stream, where one thing is expected of it. */
type Damage = "info" | "entry" | "anything";

const GRACE_MS = 40_000;

function word(chance: Chance): string {
  const words = ["", " ", "0", "-1", "1.5", "1e3", "NaN", "9".repeat(17), "two", "null", "[]", "{"];
  return chance() < 0.7 ? pick(chance, words) : hostile(chance, 3);
}

function json(chance: Chance, depth = 0): unknown {
  const made = int(chance, depth > 2 ? 6 : 8);
  const more = () => json(chance, depth + 1);
  if (made === 6) return Array.from({ length: int(chance, 4) }, more);
  if (made === 7) return { [pick(chance, ["a", "format", "headers", ""])]: more() };
  return pick(chance, [null, true, 5, -1.5, word(chance), 1e300]);
}

/** An info that no process has written. */
function badInfo(chance: Chance, info: string): unknown {
  const good = JSON.parse(info) as Record<string, unknown>;
  const noText = () => pick<unknown>(chance, [5, null, false, {}, ["json"]]);
  const edits: (() => unknown)[] = [
    () => info.slice(0, int(chance, info.length)),
    () => `${info}${pick(chance, ["}", ",", "x", info])}`,
    () => JSON.stringify(pick(chance, [null, 5, [], "json", [good], {}])),
    () => JSON.stringify({ ...good, format: pick(chance, [noText(), ""]) }),
    () =>
      JSON.stringify({
        ...good,
        headers: pick(chance, [null, 5, ["a"], { a: noText() }, { "": "b" }]),
      }),
    () => JSON.stringify({ ...good, headers: { [`a${pick(chance, [" ", "\n", ":"])}`]: "b" } }),
    () => JSON.stringify({ ...good, owner: noText() }),
    () => JSON.stringify({ ...good, chatId: noText() }),
    () => JSON.stringify({ ...good, version: pick(chance, [2, "1", null, {}]) }),
    () => hostile(chance, 5),
  ];
  return pick(chance, edits)();
}

/** Breaks one entry behind the first, so that its stream is known and its events are not. */
function breakEntry(chance: Chance, { entries }: Garbage): void {
  const entry = entries[1 + int(chance, entries.length - 1)]!;
  const text = String(entry.text);
  const edits: (() => void)[] = [
    () => void (entry.text = text.slice(0, int(chance, text.length))),
    () => void (entry.text = text + pick(chance, ["\n", "x", text])),
    () => void (entry.text = text.replaceAll("\n\n", "\n")),
    () => void (entry.text = `${hostile(chance, 4)}x`),
    () => void (entry.first = word(chance)),
    () => void (entry.first = Number(entry.last) + 1),
  ];
  pick(chance, edits)();
}

function breakAnything(chance: Chance, garbage: Garbage): void {
  const { fields, entries } = garbage;
  const names = Object.keys(fields);
  const edits: (() => void)[] = [
    () => void (fields[pick(chance, names)] = word(chance)),
    () => void (fields[pick(chance, names)] = undefined),
    () => void (fields["end"] = pick(chance, ["0", "9", "-1", word(chance)])),
    () => void (fields["lost"] = word(chance)),
    () => void entries.splice(int(chance, entries.length), 1),
    () => void entries.reverse(),
    () => breakEntry(chance, garbage),
    () => void (entries[int(chance, entries.length)] = { first: word(chance), last: 3, text: "" }),
  ];
  for (let times = 1 + int(chance, 3); times > 0; times--) {
    if (entries.length > 1) pick(chance, edits)();
  }
}

function damaged(chance: Chance, seed: number): [Garbage, Damage] {
  const streamId = `garbage${seed}`;
  const info = formatInfo({
    streamId,
    format: "json",
    headers: {},
    owner: undefined,
    chatId: undefined,
  });
  const event = (number: number) => `id: ${streamId}.${number}\ndata: {"token":"a"}\n\n`;
  const entries: Garbage["entries"] = [];
  for (let first = 1; first < 6;) {
    const last = first + int(chance, 2);
    const numbers = Array.from({ length: last - first + 1 }, (_, at) => first + at);
    entries.push({ first, last, text: numbers.map(event).join("") });
    first = last + 1;
  }
  const last = Number(entries.at(-1)!.last);
  const fields: Garbage["fields"] = { by: `p${seed}`, info, last: `${last}` };
  if (chance() < 0.5) fields["end"] = `${last}`;
  else if (chance() < 0.3) fields["lost"] = "1";
  const damage = pick<Damage>(chance, ["info", "entry", "anything"]);
  const garbage = { streamId, fields, entries, isFree: damage === "anything" };
  if (damage === "info") fields["info"] = badInfo(chance, info);
  else if (damage === "entry") breakEntry(chance, garbage);
  else breakAnything(chance, garbage);
  return [garbage, damage];
}

/** A message that no process has sent; `streamId` is of a stream that it must not disturb. */
function message(chance: Chance, processes: readonly string[], streamId: string): string {
  const id = () => pick<unknown>(chance, [streamId, "garbage1", word(chance), json(chance)]);
  const other = () => pick<unknown>(chance, ["garbage1", "unknown", json(chance)]);
  const ids = (one: () => unknown) => Array.from({ length: int(chance, 4) }, one);
  const noise = <T>(value: T) => chance() < 0.2 ? json(chance) : value;
  const from = noise(pick(chance, [...processes, "p1", word(chance)]));
  const parts = [
    from,
    noise(ids(id)),
    noise(ids(() => [id(), json(chance)])),
    noise(ids(other)),
    noise(ids(() => [other(), json(chance)])),
    noise(ids(id)),
    noise(ids(id)),
  ].slice(0, 7 - (chance() < 0.1 ? int(chance, 7) : 0));
  const text = JSON.stringify(parts);
  return chance() < 0.1 ? text.slice(0, int(chance, text.length)) : text;
}

/** How a client that asked for a stream was answered. */
async function ask(
  site: GarbageSite,
  machine: Machine,
  streamId: string,
  after?: number,
): Promise<string> {
  const reading = await machine.join(streamId, after, {}, after === undefined ? "GET" : "POST");
  const { status } = reading;
  const ended = reading.rest();
  const late = site.sleep(GRACE_MS).then(() => undefined);
  if (await Promise.race([ended, late]) === undefined) return `${status}, and it stays open`;
  if (status === 204) return "204";
  if (status !== 200) return `${status} ${JSON.parse(reading.body).code}`;
  const failed = /^event: failed\ndata: (.*)$/m.exec(reading.body)?.[1];
  return failed === undefined ? "200" : `200 ${JSON.parse(failed).code}`;
}

const FAILURES = ["log_unavailable", "lagged", "producer_lost", "bad_request"];
const ALLOWED: Record<Damage, RegExp> = {
  info: /^404 not_found$/,
  entry: /^(?:(?:200|503) log_unavailable|200 lagged|410 gone)$/,
  anything: new RegExp(
    `^(?:204|200(?: (?:${FAILURES.join("|")}))?|400 bad_request|404 not_found|406 not_acceptable|` +
      "410 gone|503 log_unavailable)$",
  ),
};

async function attackOne(site: GarbageSite, seed: number, bystander: string): Promise<void> {
  const chance = random(seed * 7919);
  const [garbage, damage] = damaged(chance, seed);
  const { streamId } = garbage;
  const [one, other] = site.machines;
  await site.put(garbage, chance);
  if (chance() < 0.3) await site.lease(`p${seed}`, int(chance, 8000));
  const chat = `chat${seed}`;
  await site.chat(JSON.stringify([null, chat]), chance() < 0.5 ? streamId : word(chance), chance);
  const processes = site.processes();
  for (let times = int(chance, 4); times > 0; times--) {
    await site.say(pick(chance, processes), message(chance, processes, bystander));
  }
  const positions = [undefined, undefined, 1, int(chance, 9)];
  const answers = await Promise.all([
    ...positions.map((after, at) => ask(site, site.machines[at % 2]!, streamId, after)),
    one.join("", undefined, { chatId: chat }).then(({ status }) => `chat ${status}`),
    ...chance() < 0.3
      ? [one.stop(streamId).then(String, (error) => `stop ${String(error.code ?? error)}`)]
      : [],
  ]);
  const what = `seed ${seed}, ${damage}: ${JSON.stringify(garbage)}: ${answers.join(", ")}`;
  for (const [at, answer] of answers.entries()) {
    // A position that the stream never had is the client's own fault.
    const isOwn = at >= 2 && at < 4 &&
      /^(?:200|204|410 gone|400 bad_request|200 bad_request)/.test(answer);
    const isJoin = at < 4;
    const isWell = isJoin
      ? ALLOWED[damage].test(answer) || (damage === "entry" && isOwn)
      : /^(?:chat (?:200|204|404|406|410|503)|true|false|stop log_unavailable)$/.test(answer);
    assert(isWell, `${answer}, ${what}`);
  }
  for (const { outages } of [one, other]) {
    const told = outages.filter((error) => String(error).includes(`cannot be read: ${streamId}:`));
    assert(told.length <= 1, `told ${told.length} times, ${what}`);
    if (damage === "info") assert.equal(told.length, 1, `told, ${what}`);
  }
}

/** Attacks with seeds, so many at once, beside a stream that must not notice. */
export async function attack(
  site: GarbageSite,
  { first, count, atOnce }: { first: number; count: number; atOnce: number },
): Promise<void> {
  const [one, other] = site.machines;
  for (let seed = first; seed < first + count; seed += atOnce) {
    const tokens = site.paced(200, 10);
    const begun = await one.start(tokens.source);
    const read = await other.meet(begun);
    const seeds = Array.from(
      { length: Math.min(atOnce, first + count - seed) },
      (_, i) => seed + i,
    );
    await Promise.all(seeds.map((seed) => attackOne(site, seed, begun.streamId)));
    await Promise.all([begun.rest(), read.rest()]);
    same(begun.text, tokens.text(), `beside seeds from ${seed}`);
    same(read.written, begun.written, `beside seeds from ${seed}`);
    assert.deepEqual([one.log.health(), other.log.health()], ["ok", "ok"], `seeds from ${seed}`);
    for (const { outages } of site.machines) {
      const strange = outages.filter((error) =>
        !/A stream in the store cannot be read/.test(`${error}`)
      );
      assert.deepEqual(strange, [], `seeds from ${seed}`);
    }
  }
}
