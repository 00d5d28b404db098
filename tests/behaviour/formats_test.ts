/** The four formats of Spillway's own, by property: whatever the items and their source, nothing is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AsyncQueue,
  EventDecoder,
  type Item,
  type ServerSentEvent,
  type Source,
  sse,
} from "../../mod.ts";
import { active } from "../../lib/counters.ts";
import { type Answer, collect } from "../../lib/testing.ts";
import { chunks, hostile, int, pick, random } from "../support/random.ts";

const before = { ...active };

type Structured = Exclude<Item, string>;
type Given = Item | null | undefined;

const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
const isToken = (item: Given): item is string => typeof item === "string" && item !== "";
const isStructured = (item: Given): item is Structured => typeof item === "object" && item !== null;

/** What the items are in a format that carries each of them: `[event, data]`. */
type Seen = readonly [event: string | undefined, data: unknown];

const EVENTS = [
  "note",
  '"',
  "\\",
  "a\tb",
  "Note",
  "tool: call",
  "data",
  "id: 9",
  ":",
  " x",
  "\ufeff",
  "テスト😀",
];

function data(chance: () => number): unknown {
  const text = hostile(chance, 3);
  return pick(chance, [
    null,
    0,
    -1.5,
    true,
    text,
    [text],
    { v: text },
    { v: [{ w: text }] },
    "",
    [],
  ]);
}

/** A list of items, of which some are to be skipped. */
function itemsOf(chance: () => number): Given[] {
  return Array.from({ length: int(chance, 12) }, (): Given => {
    const kind = int(chance, 10);
    if (kind === 0) return pick(chance, ["", null, undefined]);
    if (kind === 1) return { data: data(chance) };
    if (kind === 2) return { event: pick(chance, EVENTS), data: data(chance) };
    if (kind === 3) return { event: "", data: data(chance) };
    return hostile(chance, 4) || "x";
  });
}

/** Every kind of source, over the same items; each waits now and then. */
const SOURCES: Record<string, (items: Given[], chance: () => number) => Source<undefined>> = {
  array: (items) => items,
  "sync generator": (items) =>
    function* () {
      yield* items;
    },
  "async generator": (items, chance) =>
    async function* () {
      for (const item of items) {
        await pause(chance);
        yield item;
      }
    },
  AsyncQueue: (items, chance) => {
    const queue = new AsyncQueue<Item>({ highWaterMark: 1 + int(chance, 500) });
    feed(queue, items, chance).then(() => queue.close());
    return queue;
  },
  "callback producer": (items, chance) => async ({ queue }) => {
    await feed(queue, items, chance);
  },
  ReadableStream: (items, chance) => {
    const left = [...items];
    return new ReadableStream<Item>({
      async pull(controller) {
        await pause(chance);
        if (left.length > 0) controller.enqueue(left.shift() as Item);
        else controller.close();
      },
    }, { highWaterMark: int(chance, 3) });
  },
};

async function pause(chance: () => number): Promise<void> {
  const kind = int(chance, 20);
  if (kind === 0) await tick();
  else if (kind < 5) await Promise.resolve();
}

/** A producer that awaits some of its answers and not others. */
async function feed(
  queue: AsyncQueue<Item>,
  items: Given[],
  chance: () => number,
): Promise<void> {
  for (const item of items) {
    await pause(chance);
    const answer = queue.send(item as Item);
    if (int(chance, 2) === 0) assert.equal(await answer, true);
  }
}

const FORMATS = ["json", "text", "ndjson", "plain"] as const;
type FormatName = typeof FORMATS[number];

function respond(format: FormatName, source: Source<undefined>, options = {}): Promise<Response> {
  const request = new Request("http://localhost/", { method: "POST" });
  return sse(request, source, { format, ...options });
}

async function bodyOf(format: FormatName, source: Source<undefined>): Promise<Uint8Array> {
  const response = await respond(format, source);
  assert.equal(response.status, 200);
  return new Uint8Array(await response.arrayBuffer());
}

/** What the reader of a whole answer has. */
async function readAs(
  format: FormatName,
  source: Source<undefined>,
  options = {},
): Promise<Answer> {
  // Any text may be in these: what it looks like says nothing of its format.
  const named = format === "json" || format === "text" ? { format } : {};
  const answer = await collect(respond(format, source, options), named);
  assert.deepEqual([answer.status, answer.end], [200, "completed"]);
  return answer;
}

/** The events of a body that arrives in other chunks than it was sent in. */
function eventsOf(body: Uint8Array, chance: () => number): ServerSentEvent[] {
  const decoder = new EventDecoder();
  return chunks(chance, body).flatMap((chunk) => decoder.feed(chunk));
}

function linesOf(body: Uint8Array, chance: () => number): Record<string, unknown>[] {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (const chunk of chunks(chance, body)) text += decoder.decode(chunk, { stream: true });
  text += decoder.decode();
  assert.ok(text.endsWith("\n"));
  return text.slice(0, -1).split("\n").map((line) => JSON.parse(line));
}

/** A token that ends in half a pair is put off until it is known what follows. */
const keepsItsTokens = (items: Given[]): boolean =>
  !items.some((item) => isToken(item) && /[\ud800-\udbff]$/.test(item));

const textOf = (items: Given[]): string => items.filter(isToken).join("");

const seenOf = (items: Given[]): Seen[] =>
  items.filter((item) => isToken(item) || isStructured(item)).map((item): Seen =>
    isToken(item)
      ? ["token", item]
      : [(item as Structured).event || undefined, (item as Structured).data]
  );

/** Compares what a lossless format brought with what was given. */
function assertSame(seen: Seen[], items: Given[], where: string): void {
  const tokens = seen.filter(([event]) => event === "token").map(([, text]) => text);
  const structured = (all: Seen[]) => all.filter(([event]) => event !== "token");
  assert.equal(tokens.join(""), textOf(items), where);
  assert.deepEqual(structured(seen), structured(seenOf(items)), where);
  if (keepsItsTokens(items)) assert.deepEqual(seen, seenOf(items), where);
  assert.ok(!tokens.includes(""), where);
}

/** Runs `check` over random items from each kind of source, 60 times each. */
async function forAll(
  check: (
    items: Given[],
    source: Source<undefined>,
    chance: () => number,
    where: string,
  ) => unknown,
): Promise<void> {
  let seed = 0;
  for (const [kind, sourceOf] of Object.entries(SOURCES)) {
    for (let run = 0; run < 60; run++) {
      seed++;
      const chance = random(seed);
      const items = itemsOf(chance);
      await check(items, sourceOf(items, chance), chance, `${kind}, seed ${seed}`);
    }
  }
}

test("jsonFormat brings every item from every kind of source exactly, done last", async () => {
  await forAll(async (items, source, chance, where) => {
    const body = await bodyOf("json", source);
    const events = eventsOf(body, chance);
    assert.equal(new TextDecoder().decode(body.subarray(0, 2)), ":\n", where);
    const end = events.pop()!;
    assert.equal(end.event, "done", where);
    const tokens = items.filter(isToken).length;
    assert.deepEqual(JSON.parse(end.data), { reason: "completed", tokens }, where);
    const seen = events.map(({ event, data }): Seen => {
      const value = JSON.parse(data);
      if (event !== "message") return [event, value];
      return Object.hasOwn(value ?? {}, "token") ? ["token", value.token] : [undefined, value];
    });
    assertSame(seen, items, where);
  });
});

test("ndjsonFormat brings every item from every kind of source exactly, done last", async () => {
  await forAll(async (items, source, chance, where) => {
    const lines = linesOf(await bodyOf("ndjson", source), chance);
    const tokens = items.filter(isToken).length;
    assert.deepEqual(
      lines.pop(),
      { event: "done", data: { reason: "completed", tokens } },
      where,
    );
    const seen = lines.map((line): Seen =>
      "token" in line ? ["token", line.token] : [line.event as string | undefined, line.data]
    );
    assertSame(seen, items, where);
  });
});

test("textFormat brings the text with CRLF and CR as LF, and structured items that have a name", async () => {
  await forAll(async (items, source, chance, where) => {
    const events = eventsOf(await bodyOf("text", source), chance);
    const end = events.pop()!;
    assert.equal(end.event, "done", where);
    const tokens = items.filter(isToken).length;
    assert.deepEqual(JSON.parse(end.data), { reason: "completed", tokens }, where);
    const text = events.filter(({ event }) => event === "message").map(({ data }) => data).join("");
    assert.equal(text, textOf(items).replace(/\r\n?/g, "\n").toWellFormed(), where);
    const structured = events.filter(({ event }) => event !== "message");
    assert.deepEqual(
      structured.map(({ event, data }): Seen => [event, JSON.parse(data)]),
      seenOf(items.filter(isStructured)).filter(([event]) => event !== undefined),
      where,
    );
  });
});

test("plainFormat brings the text and nothing else", async () => {
  await forAll(async (items, source, _chance, where) => {
    const body = await bodyOf("plain", source);
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    assert.equal(decoder.decode(body), textOf(items).toWellFormed(), where);
  });
});

/** Halves of pairs: alone, joined over two and three tokens, with something between, at the end. */
const HALVES: Given[][] = [
  ["a\ud83d", "\ude00b"],
  ["\ud83d", "\ude00"],
  ["\ud83d", "", null, "\ude00"],
  ["\ud83d\ude00\ud83d", "\ude00\ud83d", "\ude00"],
  ["\ud83d", "\ud83d\ude00"],
  ["\ud83d", "\ud83d", "\ude00"],
  ["\ude00", "\ud83d"],
  ["\ud83d", "x\ude00"],
  ["\ud83d"],
  ["x\ud83d"],
  ["\ud83d", "\r", "\n\ud83d", "\ude00"],
];

test("jsonFormat and ndjsonFormat join a surrogate pair that is split over two tokens", async () => {
  for (const items of HALVES) {
    const where = JSON.stringify(items);
    const body = await bodyOf("json", items);
    const events = eventsOf(body, random(1)).slice(0, -1);
    const lines = linesOf(await bodyOf("ndjson", items), random(1)).slice(0, -1);
    const all = [events.map(({ data }): string => JSON.parse(data).token)];
    all.push(lines.map(({ token }) => token as string));
    for (const tokens of all) {
      assert.equal(tokens.join(""), textOf(items), where);
      assert.ok(!tokens.includes(""), where);
      // Joined, and not left to whoever puts the tokens together.
      if (textOf(items).isWellFormed()) assert.ok(tokens.every((token) => token.isWellFormed()));
    }
    if (!textOf(items).isWellFormed()) continue;
    assert.ok(!/\\ud[89a-f]/i.test(new TextDecoder().decode(body)), where);
  }
});

test("textFormat and plainFormat join a surrogate pair that is split over two tokens", async () => {
  for (const items of HALVES) {
    const where = JSON.stringify(items);
    const expected = textOf(items).toWellFormed();
    const lines = expected.replace(/\r\n?/g, "\n");
    assert.equal((await readAs("text", items)).text, lines, where);
    assert.equal((await readAs("plain", items)).text, expected, where);
  }
});

test("each format joins a surrogate pair also when its halves arrive in different turns", async () => {
  const source = () =>
    async function* () {
      yield "a\ud83d";
      await tick();
      await tick();
      yield "\ude00b";
    };
  for (const format of FORMATS) {
    const { text, body } = await readAs(format, source());
    assert.equal(text, "a😀b", format);
    // Joined by us, and not by whoever puts the tokens together.
    assert.ok(body.includes("😀"), format);
  }
});

test("jsonFormat keeps the order where structured data stands between two halves, textFormat the pair", async () => {
  const items: Given[] = ["a\ud83d", { event: "note", data: 1 }, "\ude00b"];
  const { items: seen } = await readAs("json", items);
  assert.deepEqual(seen, ["a", "\ud83d", { event: "note", data: 1 }, "\ude00b"]);
  assert.equal((await readAs("text", items)).text, "a😀b");
});

test("textFormat takes a CRLF that is split over two tokens for one line break", async () => {
  const cases: [Given[], string][] = [
    [["a\r", "\nb"], "a\nb"],
    [["a\r", "b"], "a\nb"],
    [["\r", "\n", "\n"], "\n\n"],
    [["\r", "\r", "\n"], "\n\n"],
    [["a\r", { event: "note", data: 1 }, "\nb"], "a\nb"],
    [["a\r", "", "\nb"], "a\nb"],
    [["a\n", "\rb"], "a\n\nb"],
  ];
  for (const [items, expected] of cases) {
    assert.equal((await readAs("text", items)).text, expected, JSON.stringify(items));
  }
});

test("each format brings megabytes of many tokens and of large tokens through a small queue", async () => {
  const large = "テスト😀\r\n\0".repeat(5000);
  const items = Array.from(
    { length: 60 },
    (_, i) => (i % 10 === 0 ? large : `token ${i} `.repeat(40)),
  );
  const text = items.join("");
  for (const highWaterMark of [1, 4096, 64 * 1024]) {
    const source = async function* () {
      for (const item of items) {
        await Promise.resolve();
        yield item;
      }
    };
    for (const format of FORMATS) {
      const answer = await readAs(format, source, { highWaterMark });
      const expected = format === "text" ? text.replaceAll("\r\n", "\n") : text;
      assert.ok(answer.text === expected, format);
    }
  }
});

test("each format ends an empty source with done and nothing else", async () => {
  for (const items of [[], ["", null, undefined]]) {
    const done = '{"reason":"completed","tokens":0}';
    const text = async (format: FormatName) =>
      new TextDecoder().decode(await bodyOf(format, items));
    assert.equal(await text("json"), `:\nevent: done\ndata: ${done}\n\n`);
    assert.equal(await text("text"), `:\nevent: done\ndata: ${done}\n\n`);
    assert.equal(await text("ndjson"), `{"event":"done","data":${done}}\n`);
    assert.equal(await text("plain"), "");
  }
});

test("each format writes these bytes", async () => {
  const items: Given[] = ["Hel", "lo\n", { event: "note", data: { a: 1 } }, { data: [2] }];
  const done = '{"reason":"completed","tokens":2}';
  const text = async (format: FormatName) => new TextDecoder().decode(await bodyOf(format, items));
  assert.equal(
    await text("json"),
    ':\ndata: {"token":"Hel"}\n\ndata: {"token":"lo\\n"}\n\n' +
      `event: note\ndata: {"a":1}\n\ndata: [2]\n\nevent: done\ndata: ${done}\n\n`,
  );
  assert.equal(
    await text("text"),
    ":\ndata: Hel\n\ndata: lo\ndata: \n\n" +
      `event: note\ndata: {"a":1}\n\nevent: done\ndata: ${done}\n\n`,
  );
  assert.equal(
    await text("ndjson"),
    '{"token":"Hel"}\n{"token":"lo\\n"}\n' +
      `{"event":"note","data":{"a":1}}\n{"data":[2]}\n{"event":"done","data":${done}}\n`,
  );
  assert.equal(await text("plain"), "Hello\n");
});

test("the formats leave nothing open", () => {
  assert.deepEqual(active, before);
});
