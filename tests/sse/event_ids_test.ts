import assert from "node:assert/strict";
import { test } from "node:test";
import { EventWriter } from "../../lib/sse/encode.ts";
import { EventIds } from "../../lib/sse/event_ids.ts";

const decoder = new TextDecoder();

/** A stream whose events have ids. */
class Stream {
  readonly writer = new EventWriter();
  readonly #streamId: string;
  #last = 0;

  constructor(streamId: string) {
    this.#streamId = streamId;
    this.writer.identify(new EventIds(streamId, undefined, false));
  }

  /** Writes an event and checks what was written. */
  write(): void {
    this.writer.data("a");
    const expected = `id: ${this.#streamId}.${++this.#last}\ndata: a\n\n`;
    assert.equal(decoder.decode(this.writer.take()), expected);
  }
}

test("Each stream has its own ids, however many write by turns", () => {
  // More than have a line of their own, with the shortest and the longest name next to each other.
  const streams = Array.from(
    { length: 600 },
    (_, i) => new Stream(String(i).padStart(i % 2 === 0 ? 1 : 128, "x")),
  );
  for (let round = 0; round < 12; round++) {
    for (const stream of streams) stream.write();
    // Some write more than others, and past a further digit.
    for (const stream of streams.slice(0, 3)) for (let i = 0; i < 90; i++) stream.write();
  }
});

test("An event that is taken back gives its number back, whoever writes in between", () => {
  const writer = new EventWriter();
  writer.identify(new EventIds("s", 1000, false));
  const other = new Stream("other");
  for (let i = 0; i < 99; i++) writer.data("a");
  writer.take();
  writer.data("b");
  writer.data("c");
  other.write();
  writer.rewind(0, 99);
  writer.data("d");
  other.write();
  writer.data("e");
  assert.equal(
    decoder.decode(writer.take()),
    "id: s.100\ndata: d\n\nid: s.101\ndata: e\n\n",
  );
});
