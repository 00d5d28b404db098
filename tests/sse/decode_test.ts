/** `EventDecoder` and `decodeEvents()`: the standard's vectors, every split, every limit. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  decodeEvents,
  encodeEvent,
  EventDecoder,
  type EventDecoderOptions,
  type ServerSentEvent,
  StreamError,
} from "../../mod.ts";
import { chunks, HOSTILE, hostile, int, pick, random } from "../support/random.ts";
import { processorTime } from "../support/timing.ts";

interface Vector {
  name: string;
  bytes_b64: string;
  expected: ServerSentEvent[];
  retry?: number[];
  last_event_id_after?: string;
}

const file = new URL("../vectors/wpt_eventsource.json", import.meta.url);
const { vectors } = JSON.parse(readFileSync(file, "utf8")) as { vectors: Vector[] };
const encoder = new TextEncoder();
const bytes = (text: string): Uint8Array => encoder.encode(text);

function byteByByte(all: Uint8Array): Uint8Array[] {
  return Array.from(all, (_, i) => all.subarray(i, i + 1));
}

/** What came of some chunks: the events, and the code of the error that ended them. */
interface Outcome {
  events: ServerSentEvent[];
  code: string | undefined;
}

function outcomeOf(parts: Iterable<Uint8Array>, options?: EventDecoderOptions): Outcome {
  const decoder = new EventDecoder(options);
  const events: ServerSentEvent[] = [];
  try {
    for (const part of parts) decoder.feed(part, events);
  } catch (error) {
    assert.ok(error instanceof StreamError, String(error));
    return { events, code: error.code };
  }
  return { events, code: undefined };
}

function decode(parts: Iterable<Uint8Array>): ServerSentEvent[] {
  const { events, code } = outcomeOf(parts);
  assert.equal(code, undefined);
  return events;
}

/** Events without `retry`, which the vectors tell apart. */
const withoutRetry = (events: ServerSentEvent[]): ServerSentEvent[] =>
  events.map(({ event, data, lastEventId }) => ({ event, data, lastEventId }));

/** The standard's algorithm over the whole text at once, as plainly as it can be said. */
function reference(all: Uint8Array): ServerSentEvent[] {
  const lines = new TextDecoder().decode(all).split(/\r\n|\r|\n/);
  lines.pop();
  const events: ServerSentEvent[] = [];
  let data: string[] = [];
  let event = "";
  let id = "";
  let retry: number | undefined;
  for (const line of lines) {
    if (line === "") {
      if (data.length > 0) {
        const given = retry === undefined ? {} : { retry };
        events.push({
          event: event || "message",
          data: data.join("\n"),
          lastEventId: id,
          ...given,
        });
      }
      data = [];
      event = "";
      retry = undefined;
      continue;
    }
    const [, name, value = ""] = /^([^:]*)(?:: ?([^]*))?$/.exec(line)!;
    if (name === "data") data.push(value);
    if (name === "event") event = value;
    if (name === "id" && !value.includes("\0")) id = value;
    if (name === "retry" && /^[0-9]+$/.test(value)) retry = Number(value);
  }
  return events;
}

/** Bytes in which something is nearly always wrong. */
function soup(chance: () => number): Uint8Array {
  const names = [
    "data",
    "data: ",
    "data:",
    "event: ",
    "id: ",
    "retry: 5",
    "id",
    ":",
    "x: ",
    "Data:",
  ];
  const ends = ["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r", ""];
  const pieces: Uint8Array[] = int(chance, 4) === 0 ? [bytes("\ufeff")] : [];
  for (let i = int(chance, 24); i > 0; i--) {
    pieces.push(bytes(pick(chance, names) + hostile(chance, 2)));
    if (int(chance, 4) === 0) {
      pieces.push(Uint8Array.from({ length: int(chance, 4) }, () => 0x80 | int(chance, 128)));
    }
    pieces.push(bytes(pick(chance, ends)));
  }
  return join(pieces);
}

function join(pieces: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

test("EventDecoder decodes every vector of the standard's tests, whole and at every split", () => {
  assert.ok(vectors.length >= 20);
  for (const { name, bytes_b64, expected } of vectors) {
    const all = Uint8Array.from(atob(bytes_b64), (char) => char.charCodeAt(0));
    assert.deepEqual(withoutRetry(decode([all])), expected, name);
    assert.deepEqual(withoutRetry(decode(byteByByte(all))), expected, `${name}, byte by byte`);
    for (let at = 0; at <= all.length; at++) {
      const parts = [all.subarray(0, at), all.subarray(at)];
      assert.deepEqual(withoutRetry(decode(parts)), expected, `${name}, split at ${at}`);
    }
  }
});

test("EventDecoder decodes the short vectors at every two splits", () => {
  for (const { name, bytes_b64, expected } of vectors) {
    const all = Uint8Array.from(atob(bytes_b64), (char) => char.charCodeAt(0));
    if (all.length > 120) continue;
    for (let to = 0; to <= all.length; to++) {
      for (let from = 0; from <= to; from++) {
        const parts = [all.subarray(0, from), all.subarray(from, to), all.subarray(to)];
        assert.deepEqual(withoutRetry(decode(parts)), expected, `${name}, ${from} and ${to}`);
      }
    }
  }
});

test("EventDecoder holds the retry time and the last event id that the vectors give", () => {
  let checked = 0;
  for (const { name, bytes_b64, retry, last_event_id_after: lastEventId } of vectors) {
    const all = Uint8Array.from(atob(bytes_b64), (char) => char.charCodeAt(0));
    for (const parts of [[all], byteByByte(all)]) {
      const decoder = new EventDecoder();
      const events = parts.flatMap((part) => decoder.feed(part));
      if (retry !== undefined) assert.equal(decoder.retry, retry.at(-1), name);
      if (lastEventId !== undefined) assert.equal(decoder.lastEventId, lastEventId, name);
      // An event says what its own block asked for, the decoder what is in force.
      if (retry !== undefined) assert.equal(events[0]?.retry, retry.at(-1), name);
    }
    if (retry !== undefined || lastEventId !== undefined) checked++;
  }
  assert.ok(checked >= 5);
});

test("EventDecoder dispatches with the last byte of the blank line and not later", () => {
  // A CR ends a line at once: its LF may never come.
  for (const end of ["\n\n", "\r\r", "\r\n\r", "\n\r"]) {
    const decoder = new EventDecoder();
    const all = byteByByte(bytes(`data: a${end}`));
    const last = all.pop()!;
    assert.deepEqual(all.flatMap((byte) => decoder.feed(byte)), [], JSON.stringify(end));
    assert.equal(decoder.feed(last)[0]?.data, "a", JSON.stringify(end));
  }
});

test("EventDecoder takes a CRLF that is split over chunks for one line break", () => {
  for (const split of [["data: a\r", "\ndata: b\r", "\n\r", "\n"], ["data: a\r", "", "\n", ""]]) {
    const parts = [...split, "data: b\n\n"].map(bytes);
    const expected = reference(join(parts));
    assert.deepEqual(decode(parts), expected);
  }
  assert.deepEqual(decode(["data: a\r", "\n", "\ndata: b\r", "\r"].map(bytes)), [
    { event: "message", data: "a", lastEventId: "" },
    { event: "message", data: "b", lastEventId: "" },
  ]);
});

test("EventDecoder strips one BOM, also split over chunks, at the start and nowhere else", () => {
  const first = (parts: Uint8Array[]) => decode(parts).map(({ data }) => data);
  assert.deepEqual(first(byteByByte(bytes("\ufeffdata: a\n\n"))), ["a"]);
  assert.deepEqual(first(byteByByte(bytes("\ufeff\ufeffdata: a\n\ndata: b\n\n"))), ["b"]);
  assert.deepEqual(first(byteByByte(bytes("\n\ufeffdata: a\n\ndata: b\n\n"))), ["b"]);
  assert.deepEqual(first([bytes("\ufeff"), bytes("\ndata: \ufeffa\n\n")]), ["\ufeffa"]);
});

test("EventDecoder gives U+FFFD for invalid UTF-8 as decoding the whole does, at every split", () => {
  for (let seed = 0; seed < 300; seed++) {
    const chance = random(seed);
    const all = soup(chance);
    const expected = reference(all);
    assert.deepEqual(decode([all]), expected, `seed ${seed}`);
    assert.deepEqual(decode(byteByByte(all)), expected, `seed ${seed}, byte by byte`);
    assert.deepEqual(decode(chunks(chance, all)), expected, `seed ${seed}, chunks`);
    for (let at = 0; at <= all.length; at++) {
      const parts = [all.subarray(0, at), all.subarray(at)];
      assert.deepEqual(decode(parts), expected, `seed ${seed}, split at ${at}`);
    }
  }
});

/** Many events of one short line, as a model's are, and now and then a line of another kind. */
function tokens(chance: () => number, hasCr: boolean): Uint8Array {
  const others = [
    "id: 7\n",
    "event: x\n",
    ":\n",
    "\n",
    "data\n",
    "data:\n\n",
    "data: \n\n",
    "data:no space\n\n",
    "data: two\ndata: lines\n\n",
    "data: a\r\n\r\n",
    "data: a\rdata: b\n\n",
    "id\rdata: b\r\r",
    "data: \t\n\n",
    "data: テスト😀\n\n",
    "datax: 1\n\n",
    "dat",
    `data: ${"long ".repeat(30)}\n\n`,
    `: ${"テ".repeat(40)}\n`,
  ].filter((other) => hasCr || !other.includes("\r"));
  const pieces: Uint8Array[] = [];
  for (let i = 0; i < 150; i++) {
    const isOther = int(chance, 12) === 0;
    pieces.push(
      bytes(
        isOther ? pick(chance, others) : `data: ${pick(chance, ["", "", "", "é", "😀x"])} the\n\n`,
      ),
    );
    if (int(chance, 400) === 0) pieces.push(Uint8Array.of(0xe3, 0x83));
  }
  return join(pieces);
}

test("EventDecoder decodes long chunks of short lines as it decodes them byte by byte", () => {
  for (let seed = 0; seed < 80; seed++) {
    const chance = random(seed);
    const all = tokens(chance, seed % 2 === 0);
    assert.ok(all.length > 1500);
    const expected = reference(all);
    assert.deepEqual(decode([all]), expected, `seed ${seed}`);
    const limits = { maxLineBytes: 170, maxEventBytes: 40 + int(chance, 200) };
    const limited = outcomeOf(byteByByte(all), limits);
    assert.deepEqual(outcomeOf([all], limits), limited, `seed ${seed}, limits`);
    for (let split = 0; split < 8; split++) {
      const at = int(chance, all.length + 1);
      const parts = [all.subarray(0, at), all.subarray(at)];
      assert.deepEqual(decode(parts), expected, `seed ${seed}, split at ${at}`);
      assert.deepEqual(outcomeOf(parts, limits), limited, `seed ${seed}, limits, split at ${at}`);
    }
  }
});

test("EventDecoder decodes what encodeEvent() encoded, at every split", () => {
  const names = HOSTILE.filter((text) => !/[\r\n\0]/.test(text)).map((text) => text.toWellFormed());
  for (let seed = 0; seed < 100; seed++) {
    const chance = random(seed);
    let wire = "";
    let lastEventId = "";
    const expected: ServerSentEvent[] = [];
    for (let i = int(chance, 4) + 1; i > 0; i--) {
      const data = hostile(chance, 4);
      const event = int(chance, 2) === 0 ? pick(chance, names) : "";
      const given = int(chance, 3) === 0 ? { retry: 100 + int(chance, 900) } : {};
      const id = int(chance, 2) === 0 ? { id: pick(chance, names) } : {};
      if (int(chance, 3) === 0) wire += encodeEvent({ comment: hostile(chance, 3) });
      wire += encodeEvent({ event, data, ...given, ...id });
      lastEventId = id.id ?? lastEventId;
      const arrives = data.replace(/\r\n?/g, "\n").toWellFormed();
      expected.push({ event: event || "message", data: arrives, lastEventId, ...given });
    }
    const all = bytes(wire);
    assert.deepEqual(decode(byteByByte(all)), expected, `seed ${seed}, byte by byte`);
    for (let at = 0; at <= all.length; at++) {
      const parts = [all.subarray(0, at), all.subarray(at)];
      assert.deepEqual(decode(parts), expected, `seed ${seed}, split at ${at}`);
    }
  }
});

test("EventDecoder commits an id without data, and no id of a block that is cut off", () => {
  const decoder = new EventDecoder();
  assert.deepEqual(decoder.feed(bytes("id: 1\n")), []);
  assert.equal(decoder.lastEventId, "");
  assert.deepEqual(decoder.feed(bytes("\n")), []);
  assert.equal(decoder.lastEventId, "1");
  assert.equal(decoder.feed(bytes("data: a\n\n"))[0]?.lastEventId, "1");
});

test("EventDecoder.reset() forgets the cut-off block and keeps the last event id and retry", () => {
  for (const cut of ["data: cut", "id: 2\ndata: cut\n", "event: cut\n", "data: cut\r", "dat"]) {
    const decoder = new EventDecoder();
    decoder.feed(bytes(`id: 1\nretry: 500\ndata: a\n\n${cut}`));
    decoder.reset();
    assert.equal(decoder.lastEventId, "1");
    assert.equal(decoder.retry, 500);
    assert.deepEqual(decoder.feed(bytes("\ufeffdata: b\n\n")), [
      { event: "message", data: "b", lastEventId: "1" },
    ], JSON.stringify(cut));
  }
});

test("EventDecoder.reset() forgets how large the cut-off event was", () => {
  const decoder = new EventDecoder({ maxEventBytes: 10 });
  decoder.feed(bytes("data: abc\n"));
  decoder.reset();
  assert.equal(decoder.feed(bytes("data: abc\n\n"))[0]?.data, "abc");
});

test("EventDecoder refuses limits that are no positive integers", () => {
  for (const value of [0, -1, 1.5, NaN, Infinity, "5" as unknown as number]) {
    assert.throws(() => new EventDecoder({ maxLineBytes: value }), RangeError);
    assert.throws(() => new EventDecoder({ maxEventBytes: value }), RangeError);
  }
});

test("EventDecoder maxLineBytes is exact, in UTF-8 bytes, for every kind of line and split", () => {
  // The tails of the chunks make one smaller and one larger than the limit.
  for (const line of ["data: 0123456789", ": a comment", "data: テスト😀é", "unknown: x", "data"]) {
    const size = bytes(line).length;
    for (const tail of ["\n\n", "\r\n\r\n", `\n${"data: x\n".repeat(20)}\n`]) {
      const all = bytes(`data: a\n\n${line}${tail}`);
      for (const parts of [[all], byteByByte(all), [all.subarray(0, 12), all.subarray(12)]]) {
        const limits = { maxLineBytes: Math.max(size, 7) };
        assert.equal(outcomeOf(parts, limits).code, undefined, line);
      }
      if (size <= 7) continue;
      for (const parts of [[all], byteByByte(all), [all.subarray(0, 12), all.subarray(12)]]) {
        const outcome = outcomeOf(parts, { maxLineBytes: size - 1 });
        assert.equal(outcome.code, "line_too_large", line);
        assert.deepEqual(outcome.events, [{ event: "message", data: "a", lastEventId: "" }]);
      }
    }
  }
});

test("EventDecoder counts a line while it arrives: an endless one fails as soon as it is too long", () => {
  for (const unit of ["x", "テ", "\0"]) {
    const decoder = new EventDecoder({ maxLineBytes: 99 });
    const piece = bytes(unit);
    for (let size = piece.length; size <= 99; size += piece.length) decoder.feed(piece);
    assert.throws(() => decoder.feed(piece), { name: "StreamError", code: "line_too_large" });
  }
  const limits = { maxLineBytes: 99 };
  assert.equal(outcomeOf([new Uint8Array(100).fill(0x78)], limits).code, "line_too_large");
  assert.equal(outcomeOf([bytes(`data: a\n\n${"x".repeat(100)}`)], limits).events.length, 1);
});

test("EventDecoder maxEventBytes is exact, in UTF-8 bytes, and counts fields only", () => {
  const text =
    ":a comment that is long\nid: 1\ndata: テスト😀\nunknown: field\nevent: é\ndata: ab\n";
  const counted = bytes("id: 1data: テスト😀event: édata: ab").length;
  // Twice: what one event took is not counted against the next.
  const all = bytes(`${text}\n${text}\n`);
  for (const parts of [[all], byteByByte(all), [all.subarray(0, 30), all.subarray(30)]]) {
    for (const maxLineBytes of [30, 1000]) {
      const fits = outcomeOf(parts, { maxLineBytes, maxEventBytes: counted });
      assert.equal(fits.code, undefined);
      assert.equal(fits.events.length, 2);
      const limits = { maxLineBytes, maxEventBytes: counted - 1 };
      assert.deepEqual(outcomeOf(parts, limits), { events: [], code: "event_too_large" });
    }
  }
});

test("EventDecoder counts an event while it arrives: endless data lines fail without a blank line", () => {
  const decoder = new EventDecoder({ maxEventBytes: 70 });
  for (let i = 0; i < 10; i++) decoder.feed(bytes("data: x\n"));
  assert.throws(() => decoder.feed(bytes("data: x\n")), {
    name: "StreamError",
    code: "event_too_large",
  });
});

test("EventDecoder reaches the same events and the same limit at every split", () => {
  for (let seed = 0; seed < 300; seed++) {
    const chance = random(seed);
    const all = soup(chance);
    const limits = { maxLineBytes: 8 + int(chance, 24), maxEventBytes: 8 + int(chance, 60) };
    const expected = outcomeOf(byteByByte(all), limits);
    assert.deepEqual(outcomeOf([all], limits), expected, `seed ${seed}`);
    for (let at = 0; at <= all.length; at++) {
      const parts = [all.subarray(0, at), all.subarray(at)];
      assert.deepEqual(outcomeOf(parts, limits), expected, `seed ${seed}, split at ${at}`);
    }
  }
});

test("EventDecoder counts the bytes of invalid UTF-8 as they came", () => {
  // Six bytes and one broken one beside a character of two: 9 bytes, not the 11 of U+FFFD.
  const line = join([bytes("data: é"), Uint8Array.of(0xff)]);
  const all = join([line, bytes("\n\n")]);
  const limits = { maxEventBytes: line.length };
  assert.equal(outcomeOf(byteByByte(all), limits).code, undefined);
  assert.equal(outcomeOf([all], limits).code, undefined);
});

test("EventDecoder takes linear time for a long line in one-byte chunks", () => {
  const byte = Uint8Array.of(0x78);
  const msFor = (size: number, runs: number) => {
    let best = Infinity;
    for (let run = 0; run < runs; run++) {
      const decoder = new EventDecoder({ maxLineBytes: size + 16, maxEventBytes: size + 16 });
      const usedMs = processorTime();
      decoder.feed(bytes("data: "));
      for (let i = 0; i < size; i++) decoder.feed(byte);
      const [event] = decoder.feed(bytes("\n\n"));
      best = Math.min(best, usedMs());
      assert.equal(event?.data.length, size);
    }
    return best;
  };
  assert.ok(msFor(1024 * 1024, 1) < 3000);
  const half = msFor(256 * 1024, 3);
  const whole = msFor(512 * 1024, 3);
  assert.ok(whole < half * 4, `${half} ms, twice the size ${whole} ms`);
});

test("EventDecoder takes linear time for many data lines and for many events in one chunk", () => {
  const many = bytes("data: x\n".repeat(100_000) + "\n");
  const usedMs = processorTime();
  assert.equal(decode([many])[0]?.data.length, 199_999);
  assert.equal(decode([bytes("data: x\n\n".repeat(100_000))]).length, 100_000);
  assert.ok(usedMs() < 2000);
});

/** A byte stream that gives what it is told to and remembers what became of it. */
function streamOf(parts: string[], end: "close" | "stay open" | Error): {
  stream: ReadableStream<Uint8Array>;
  cancelled: unknown[];
} {
  const cancelled: unknown[] = [];
  const left = parts.map(bytes);
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      const part = left.shift();
      if (part !== undefined) controller.enqueue(part);
      else if (end === "close") controller.close();
      else if (end !== "stay open") controller.error(end);
      else return new Promise(() => {});
    },
    cancel(reason) {
      cancelled.push(reason);
    },
  }, { highWaterMark: 0 });
  return { stream, cancelled };
}

async function collect(
  stream: ReadableStream<Uint8Array>,
  options?: EventDecoderOptions,
): Promise<{ texts: string[]; error: unknown }> {
  const texts: string[] = [];
  try {
    for await (const { data } of decodeEvents(stream, options)) texts.push(data);
  } catch (error) {
    return { texts, error };
  }
  return { texts, error: undefined };
}

test("decodeEvents() gives the events in order and discards a block that is cut off", async () => {
  const { stream } = streamOf(["data: a\n\ndata: b\n\nda", "ta: c\n", "\ndata: cut\n"], "close");
  assert.deepEqual(await collect(stream), { texts: ["a", "b", "c"], error: undefined });
});

test("decodeEvents() throws the stream's failure after the events that came before it", async () => {
  const failure = new Error("connection reset");
  const { stream } = streamOf(["data: a\n\ndata: b\n\n", "data: cut"], failure);
  assert.deepEqual(await collect(stream), { texts: ["a", "b"], error: failure });
});

test("decodeEvents() throws a limit after the events before it and cancels the stream", async () => {
  const { stream, cancelled } = streamOf([`data: a\n\ndata: b\n\n${"x".repeat(50)}`], "stay open");
  const { texts, error } = await collect(stream, { maxLineBytes: 20 });
  assert.deepEqual(texts, ["a", "b"]);
  assert.ok(error instanceof StreamError && error.code === "line_too_large");
  assert.equal(cancelled.length, 1);
  const large = streamOf(["data: a\n\ndata: too large\n\n"], "stay open");
  const outcome = await collect(large.stream, { maxEventBytes: 10 });
  assert.deepEqual(outcome.texts, ["a"]);
  assert.ok(outcome.error instanceof StreamError && outcome.error.code === "event_too_large");
  assert.equal(large.cancelled.length, 1);
});

test("decodeEvents() throws a RangeError for limits out of their bounds", () => {
  const { stream } = streamOf([], "close");
  assert.throws(() => decodeEvents(stream, { maxLineBytes: 0 }), RangeError);
});

test("decodeEvents() cancels the stream when its loop is left", async () => {
  const { stream, cancelled } = streamOf(["data: a\n\ndata: b\n\n"], "stay open");
  for await (const { data } of decodeEvents(stream)) {
    assert.equal(data, "a");
    break;
  }
  assert.equal(cancelled.length, 1);
  const thrown = streamOf(["data: a\n\n"], "stay open");
  await assert.rejects(async () => {
    for await (const _ of decodeEvents(thrown.stream)) throw new Error("left");
  }, { message: "left" });
  assert.equal(thrown.cancelled.length, 1);
});

test("decodeEvents().return() cancels at once while a read is pending", async () => {
  const { stream, cancelled } = streamOf(["data: a\n\n"], "stay open");
  const events = decodeEvents(stream);
  assert.equal((await events.next()).value?.data, "a");
  const pending = events.next();
  const returned = events.return!();
  assert.equal(cancelled.length, 1);
  assert.deepEqual(await returned, { done: true, value: undefined });
  assert.equal((await pending).done, true);
  assert.equal((await events.next()).done, true);
});

test("decodeEvents().return() drops the events that were not taken yet", async () => {
  const { stream } = streamOf(["data: a\n\ndata: b\n\n"], "stay open");
  const events = decodeEvents(stream);
  await events.next();
  await events.return!();
  assert.equal((await events.next()).done, true);
});

test("decodeEvents().return() resolves after a failure was thrown, for V8 calls it until it does", async () => {
  const failure = new Error("connection reset");
  const { stream } = streamOf(["data: a\n\n"], failure);
  const events = decodeEvents(stream);
  assert.equal((await events.next()).value?.data, "a");
  await assert.rejects(events.next(), (error) => error === failure);
  assert.deepEqual(await events.return!(), { done: true, value: undefined });
});

test("decodeEvents().next() answers overlapping calls with every event, in order", async () => {
  const { stream } = streamOf(["data: a\n\ndata: b\n\n", "data: c\n\ndata: d\n\n"], "close");
  const events = decodeEvents(stream);
  const results = await Promise.all([1, 2, 3, 4, 5].map(() => events.next()));
  assert.deepEqual(results.map(({ value }) => value?.data), ["a", "b", "c", "d", undefined]);
});

test("decodeEvents().next() answers overlapping calls with the events and then the failure", async () => {
  const failure = new Error("connection reset");
  const { stream } = streamOf(["data: a\n\ndata: b\n\n"], failure);
  const events = decodeEvents(stream);
  const results = await Promise.allSettled([1, 2, 3].map(() => events.next()));
  assert.deepEqual(results.map(({ status }) => status), ["fulfilled", "fulfilled", "rejected"]);
});

test("EventDecoder with fatal refuses invalid UTF-8 after the events before it, at every split", () => {
  const all = join([bytes("data: é\n\ndata: "), Uint8Array.of(0xff), bytes("\n\ndata: b\n\n")]);
  for (let at = 0; at <= all.length; at++) {
    const decoder = new EventDecoder({ fatal: true });
    const events: ServerSentEvent[] = [];
    assert.throws(() => {
      for (const part of [all.subarray(0, at), all.subarray(at)]) decoder.feed(part, events);
    }, TypeError);
    assert.deepEqual(events.map(({ data }) => data), ["é"], `split at ${at}`);
  }
  const begun = new EventDecoder({ fatal: true });
  const events = begun.feed(bytes("data: a\n\n"));
  assert.throws(() => begun.feed(all, events), TypeError);
  assert.deepEqual(events.map(({ data }) => data), ["a", "é"]);
  // U+FFFD is what invalid bytes become, and valid by itself.
  const [alone] = new EventDecoder({ fatal: true }).feed(bytes("data: \ufffd\n\n"));
  assert.equal(alone?.data, "\ufffd");
  const valid = bytes("data: é\r\n\r\ndata: テ\ufffd\r\n\r\n");
  for (let at = 0; at <= valid.length; at++) {
    const decoder = new EventDecoder({ fatal: true });
    const parts = [valid.subarray(0, at), valid.subarray(at)];
    assert.deepEqual(parts.flatMap((part) => decoder.feed(part)).map(({ data }) => data), [
      "é",
      "テ\ufffd",
    ]);
  }
});

test("decodeEvents() reads a whole response", async () => {
  const response = new Response("event: note\nid: 1\nretry: 500\ndata: a\n\n");
  assert.deepEqual(await Array.fromAsync(decodeEvents(response.body!)), [
    { event: "note", data: "a", lastEventId: "1", retry: 500 },
  ]);
});

test("decodeEvents() ends with a byte stream that closes while it is read", async () => {
  let left = 2;
  const stream = new ReadableStream<Uint8Array>({
    type: "bytes",
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (left-- === 0) controller.close();
      else controller.enqueue(bytes("data: a\n\n") as Uint8Array<ArrayBuffer>);
    },
  });
  assert.equal((await Array.fromAsync(decodeEvents(stream))).length, 2);
});

test("EventDecoder takes linear time for CR lines beside a wide character", () => {
  const lines = new TextEncoder().encode(`data: é\r${":\r".repeat(256 * 1024)}\r`);
  const usedMs = processorTime();
  const events = new EventDecoder().feed(lines);
  assert.equal(events[0]?.data, "é");
  assert.ok(usedMs() < 1000, "quadratic");
});
