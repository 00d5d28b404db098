/** `ClientDecoder`: what the standard says of events, at every split, and what it refuses. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { ClientDecoder } from "../../lib/client/decoder.ts";
import { EventDecoder } from "../../lib/sse/decode.ts";
import type { ServerSentEvent } from "../../lib/sse/event.ts";
import { HOSTILE, int, pick, random } from "../support/random.ts";

interface Vector {
  name: string;
  bytes_b64: string;
  expected: ServerSentEvent[];
}

const file = new URL("../vectors/wpt_eventsource.json", import.meta.url);
const { vectors } = JSON.parse(readFileSync(file, "utf8")) as { vectors: Vector[] };

function decode(parts: Iterable<Uint8Array>, maxLength = 2 ** 20): ServerSentEvent[] {
  const decoder = new ClientDecoder(false, maxLength, "");
  const events: ServerSentEvent[] = [];
  for (const part of parts) decoder.feed(part, events);
  return events;
}

function halves(bytes: Uint8Array, at: number): Uint8Array[] {
  return [bytes.subarray(0, at), bytes.subarray(at)];
}

test("ClientDecoder decodes the vectors of web-platform-tests at every split", () => {
  assert(vectors.length > 20);
  for (const { name, bytes_b64, expected } of vectors) {
    const bytes = new Uint8Array(Buffer.from(bytes_b64, "base64"));
    for (let at = 0; at <= bytes.length; at++) {
      const events = decode(halves(bytes, at));
      assert.deepEqual(
        events.map(({ event, data, lastEventId }) => ({ event, data, lastEventId })),
        expected.map(({ event, data, lastEventId }) => ({ event, data, lastEventId })),
        `${name} at ${at}`,
      );
    }
    decode(Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)));
  }
});

test("ClientDecoder decodes whatever comes as EventDecoder does", () => {
  const chance = random(5);
  const pieces = [...HOSTILE, "data: a", "event: e", "id: 1", "id", "retry: 5", "retry: x", "\n\n"];
  for (let run = 0; run < 2000; run++) {
    const text = Array.from({ length: int(chance, 30) }, () => pick(chance, pieces)).join("");
    const bytes = new TextEncoder().encode(text);
    const parts = halves(bytes, int(chance, bytes.length + 1));
    const expected: ServerSentEvent[] = [];
    const decoder = new EventDecoder();
    for (const part of parts) decoder.feed(part, expected);
    assert.deepEqual(decode(parts), expected, JSON.stringify(text));
  }
});

test("ClientDecoder keeps the id and the retry time over a reset, and nothing else", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const decoder = new ClientDecoder(false, 100, "0");
  const events: ServerSentEvent[] = [];
  decoder.feed(bytes("data: a\n\nid: 1\nretry: 7\n\nevent: x\nid: 2\ndata: lost"), events);
  decoder.reset();
  decoder.feed(bytes("data: b\n\n"), events);
  assert.deepEqual(events.map(({ event, data, lastEventId }) => [event, data, lastEventId]), [
    ["message", "a", "0"],
    ["message", "b", "1"],
  ]);
  assert.equal(decoder.retry, 7);
});

test("ClientDecoder bounds an event, whether of one line or of many", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const fits = `data: ${"x".repeat(94)}`;
  assert.equal(decode([bytes(`${fits}\n\n`.repeat(3))], 100).length, 3);
  for (const text of [`${fits}x\n\n`, `${fits}x`, "data: x\n".repeat(15), `${fits}\ndata`]) {
    assert.throws(() => decode([bytes(text)], 100), { code: "event_too_large" });
  }
  assert.equal(decode([bytes(`${":".repeat(90)}\n`.repeat(9))], 100).length, 0);
});

test("ClientDecoder takes linear time for a long line in many chunks", () => {
  const chunk = new TextEncoder().encode("x".repeat(4));
  const timeOf = (count: number) => {
    const start = process.cpuUsage();
    decode(
      function* () {
        yield new TextEncoder().encode("data: ");
        for (let i = 0; i < count; i++) yield chunk;
        yield new TextEncoder().encode("\n\n");
      }(),
      1e8,
    );
    const { user, system } = process.cpuUsage(start);
    // Less is not measured well.
    return Math.max(5000, user + system);
  };
  timeOf(1000);
  const least = (count: number) => Math.min(...[1, 2, 3].map(() => timeOf(count)));
  const [few, many] = [least(20_000), least(200_000)];
  assert(many < few * 40, `${few} µs, ten times as much ${many} µs`);
});
