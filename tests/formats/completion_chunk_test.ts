/** `CompletionReader.text`: what is cut out of a chunk is what parsing it would have found, or nothing. */
import assert from "node:assert/strict";
import test from "node:test";
import { CompletionReader } from "../../lib/formats/completion_chunk.ts";
import { hostile, int, pick, random } from "../support/random.ts";

const START = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":';

function chunkOf(text: string, rest = '"finish_reason":null'): string {
  return `${START}[{"index":0,"delta":{"content":${JSON.stringify(text)}},${rest}}]}`;
}

/** One after the other, as a relay does. Answers the texts, and how many of them were cut out. */
function readAll(chunks: string[]): { items: unknown[]; cut: number } {
  const reader = new CompletionReader();
  const items: unknown[] = [];
  let cut = 0;
  for (const data of chunks) {
    const text = reader.text(data);
    if (text === undefined) items.push(...reader.items(JSON.parse(data), data));
    else cut++;
    // An empty text is skipped by whoever it is sent to.
    if (text) items.push(text);
  }
  return { items, cut };
}

function parsed(chunks: string[]): unknown[] {
  return chunks.flatMap((data) => new CompletionReader().items(JSON.parse(data), ""));
}

test("CompletionReader cuts out the text of every chunk after the first, whatever spaces there are", () => {
  const texts = [":", "Hel", "lo", " ", "テ", "👩‍💻", "", "\u2028", "data: x"];
  for (const spaced of [false, true]) {
    const chunks = texts.map((text) => {
      const chunk = chunkOf(text);
      return spaced ? chunk.replace('"content":', '"content": ') : chunk;
    });
    assert.deepEqual(readAll(chunks), { items: texts.filter(Boolean), cut: texts.length - 1 });
  }
});

test("CompletionReader leaves what is escaped to the parser", () => {
  const texts = ["a", '"', "\\", "\n", "\u0000", '","x":"', "\ud800", "b"];
  const { items, cut } = readAll(texts.map((text) => chunkOf(text)));
  assert.deepEqual(items, texts);
  assert.equal(cut, 1);
});

test("CompletionReader learns neither from its own mark nor from a chunk that says something of the end", () => {
  const marked = (x: string) =>
    `{"x":{"content":${
      JSON.stringify(x)
    }},"choices":[{"index":0,"delta":{"content":"\u{10fffd}"}}]}`;
  const chunks = [marked("\u{10fffd}"), marked("foo"), marked("bar")];
  assert.deepEqual(readAll(chunks), { items: parsed(chunks), cut: 0 });
  const used = (n: number) => `{"usage":{"n":${n}},${chunkOf("a").slice(1)}`;
  assert.equal(readAll([used(1), used(2), used(1)]).cut, 0);
  const ended = chunkOf("a", '"finish_reason":"stop"');
  assert.equal(readAll([ended, ended]).cut, 0);
});

test("CompletionReader finds nothing that parsing does not, for chunks that look like each other", () => {
  const decoys = [
    (text: string) => chunkOf(text),
    (text: string) => chunkOf(text, '"finish_reason":"stop"'),
    (text: string) => chunkOf(text, `"logprobs":{"content":${JSON.stringify(text)}}`),
    (text: string) => `{"content":"x",${chunkOf(text).slice(1)}`,
    (text: string) => `{"content":${JSON.stringify(text)},${chunkOf(text).slice(1)}`,
    (text: string) => chunkOf(text).replace('"index":0', '"index":1'),
    (text: string) => chunkOf(text).replace('"content"', '"x\\"content"'),
    (text: string) => chunkOf(text).replace('"content"', '"reasoning_content"'),
    () => `${START}[{"index":0,"delta":{"content":["content",":"]}}]}`,
    (text: string) => chunkOf(`"content":"${text}"`),
  ];
  for (let seed = 0; seed < 500; seed++) {
    const chance = random(seed);
    const kinds = [pick(chance, decoys), pick(chance, decoys), pick(chance, decoys)];
    const chunks = Array.from({ length: 30 }, () =>
      pick(chance, kinds)(
        int(chance, 2) === 0 ? hostile(chance, 4) : pick(chance, [":", "content", "x", '"', "a"]),
      ));
    assert.deepEqual(readAll(chunks).items, parsed(chunks), `seed ${seed}`);
  }
});

test("CompletionReader keeps members of the names that an object has by itself", () => {
  const members = '"__proto__":{"x":1},"constructor":2';
  const call = `{"index":0,"id":"a",${members},"function":{"name":"f","arguments":"[]"}}`;
  const data = `{"choices":[{"index":0,"delta":{${members},"tool_calls":[${call}]}}]}`;
  const items = JSON.stringify(new CompletionReader().items(JSON.parse(data), data));
  assert(items.includes(`{"event":"delta","data":{${members}}}`), items);
  assert(items.includes(`"extra":{${members}}`), items);
});
