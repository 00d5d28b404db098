/** `ByteWriter`: the hand-written UTF-8 loop equals the platform's, and its scratch never leaks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteWriter, Constant, Escapes, frameOf, jsonFrame } from "../../lib/sse/utf8.ts";
import { hostile, int, random } from "../support/random.ts";

const encoder = new TextEncoder();
const JSON_INSIDE = jsonFrame("", "");
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Any UTF-16 at all: mostly what no language has. */
function anyUnits(chance: () => number, length: number): string {
  const bits = [7, 8, 11, 12, 16];
  let text = "";
  for (let i = int(chance, length); i > 0; i--) {
    const code = int(chance, 2 ** bits[int(chance, bits.length)]!);
    text += String.fromCharCode(int(chance, 3) === 0 ? 0xd800 | (code & 0x7ff) : code);
  }
  return text;
}

function inJson(writer: ByteWriter): string {
  return JSON.parse(`"${decoder.decode(writer.take())}"`);
}

test("ByteWriter.text() equals TextEncoder for every UTF-16 unit and around every pair", () => {
  const writer = new ByteWriter();
  for (let code = 0; code < 0x10000; code++) {
    const text = String.fromCharCode(code);
    writer.text(text);
    if (decoder.decode(writer.take()) !== text.toWellFormed()) assert.fail(code.toString(16));
  }
  for (const code of [0x10000, 0x10ffff, 0x1f600, 0x103ff, 0xffff, 0x800, 0x7ff, 0x80, 0x7f]) {
    const text = String.fromCodePoint(code);
    writer.text(text);
    assert.deepEqual(writer.take(), encoder.encode(text));
  }
});

test("ByteWriter.text() equals TextEncoder for any string, lone surrogates too", () => {
  const writer = new ByteWriter();
  for (let seed = 0; seed < 1000; seed++) {
    const chance = random(seed);
    const text = int(chance, 2) === 0 ? hostile(chance, 20) : anyUnits(chance, 60);
    writer.text(text);
    assert.deepEqual(writer.take(), encoder.encode(text), `seed ${seed}`);
  }
});

test("ByteWriter.write() in JSON is the inside of a JSON string that parses to the exact text", () => {
  const writer = new ByteWriter();
  for (let code = 0; code < 0x10000; code++) {
    const text = String.fromCharCode(code);
    writer.write(JSON_INSIDE, text);
    if (inJson(writer) !== text) assert.fail(code.toString(16));
  }
  for (let seed = 0; seed < 1000; seed++) {
    const chance = random(seed);
    const text = int(chance, 2) === 0 ? hostile(chance, 20) : anyUnits(chance, 60);
    writer.write(JSON_INSIDE, text);
    assert.equal(inJson(writer), text, `seed ${seed}`);
  }
});

test("ByteWriter.write() in JSON never writes a line break", () => {
  const writer = new ByteWriter();
  for (let code = 0; code < 0x80; code++) writer.write(JSON_INSIDE, String.fromCharCode(code));
  const bytes = writer.take();
  assert.ok(!bytes.includes(0x0a) && !bytes.includes(0x0d));
});

test("ByteWriter grows for one string of a MiB, whatever each character takes", () => {
  // One byte as it is, two, three, four, six escaped, six for a lone surrogate.
  const bytes = { "a": 1, "é": 2, "テ": 3, "😀": 4, "\0": 6, "\ud800": 6 };
  for (const [text, size] of Object.entries(bytes)) {
    const long = text.repeat(Math.ceil(1024 * 1024 / size));
    const writer = new ByteWriter();
    writer.raw(new Constant("<"));
    writer.text(long);
    writer.raw(new Constant(">"));
    assert.ok(decoder.decode(writer.take()) === `<${long.toWellFormed()}>`, JSON.stringify(text));
    writer.write(JSON_INSIDE, long);
    assert.ok(inJson(writer) === long, JSON.stringify(text));
  }
});

test("ByteWriter grows at every fill of its scratch", () => {
  // Around 4 KiB and 64 KiB, with each kind of character at each distance from the edge.
  const texts = ["a", "é", "テ", "😀", "\n", "\0", "\ud800", '"', "\0テ"].map((char) =>
    char.repeat(4)
  );
  texts.push("\0\0\0\0テテテテ", "\ud800\ud800\ud800テテテテ", "\0\0\0\0\0\0\0\0\0");
  const tail = "a tail of some bytes";
  for (const edge of [4096, 64 * 1024]) {
    const filler = "x".repeat(edge);
    for (const text of texts) {
      const plain = text.toWellFormed();
      const escaped = JSON.stringify(text).slice(1, -1);
      for (let room = 0; room <= 80; room++) {
        const writer = new ByteWriter();
        writer.raw(new Constant(filler.slice(room)));
        writer.write(jsonFrame("", tail), text);
        writer.text(text);
        const written = decoder.decode(writer.take());
        if (written !== filler.slice(room) + escaped + tail + plain) {
          assert.fail(`${JSON.stringify(text)}, room ${room}`);
        }
      }
    }
  }
});

test("ByteWriter keeps many small strings in order", () => {
  const writer = new ByteWriter();
  let text = "";
  const chance = random(1);
  for (let i = 0; i < 20_000; i++) {
    const piece = hostile(chance, 3);
    writer.text(piece);
    text += piece.toWellFormed();
  }
  assert.equal(writer.length, encoder.encode(text).length);
  assert.ok(decoder.decode(writer.take()) === text);
});

test("ByteWriter.take() gives independent copies and starts anew", () => {
  const writer = new ByteWriter();
  writer.text("first");
  const first = writer.take();
  assert.equal(writer.length, 0);
  writer.text("second");
  const second = writer.take();
  assert.equal(decoder.decode(first), "first");
  assert.equal(decoder.decode(second), "second");
  assert.notEqual(first.buffer, second.buffer);
  assert.equal(first.byteOffset, 0);
  assert.equal(first.buffer.byteLength, 5);
  first.fill(0);
  // A sink may transfer the buffer away.
  structuredClone(second.buffer, { transfer: [second.buffer] });
  writer.text("third");
  assert.equal(decoder.decode(writer.take()), "third");
  assert.equal(writer.take().length, 0);
});

test("ByteWriter.truncate() forgets what came after", () => {
  const writer = new ByteWriter();
  writer.text("keep");
  const { length } = writer;
  writer.text("x".repeat(200_000));
  writer.truncate(length);
  assert.equal(writer.length, length);
  writer.text("!");
  assert.equal(decoder.decode(writer.take()), "keep!");
});

test("ByteWriter.write() writes their head and tail around the text", () => {
  const quoted = new Escapes((char) => (char === "'" ? "''" : undefined));
  for (let seed = 0; seed < 300; seed++) {
    const chance = random(seed);
    const [head, text, tail] = [hostile(chance, 3), hostile(chance, 6), hostile(chance, 3)];
    const writer = new ByteWriter();
    writer.write(jsonFrame(head, tail), text);
    const inside = JSON.stringify(text).slice(1, -1);
    assert.equal(
      decoder.decode(writer.take()),
      head.toWellFormed() + inside + tail.toWellFormed(),
      `seed ${seed}`,
    );
    writer.write(frameOf(head, quoted, tail), `'${text}'`);
    const doubled = `''${text.toWellFormed()}''`;
    assert.equal(
      decoder.decode(writer.take()),
      head.toWellFormed() + doubled + tail.toWellFormed(),
      `seed ${seed}`,
    );
  }
});

test("ByteWriter writers do not share what they have written", () => {
  const writers = Array.from({ length: 40 }, () => new ByteWriter());
  const texts = writers.map(() => "");
  const chance = random(1);
  for (let step = 0; step < 20_000; step++) {
    const index = int(chance, writers.length);
    const writer = writers[index]!;
    const text = int(chance, 50) === 0 ? "x".repeat(int(chance, 9000)) : hostile(chance, 4);
    if (int(chance, 20) === 0) {
      if (int(chance, 4) === 0) writer.truncate(0);
      else if (decoder.decode(writer.take()) !== texts[index]) assert.fail(`step ${step}`);
      texts[index] = "";
    } else {
      writer.text(text);
      texts[index] += text.toWellFormed();
    }
    assert.equal(writer.length === 0, texts[index] === "");
  }
  for (const [index, writer] of writers.entries()) {
    assert.ok(decoder.decode(writer.take()) === texts[index], `writer ${index}`);
  }
});
