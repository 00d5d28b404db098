/** `sse()`: items that cannot be sent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AsyncQueue, type Item, type Source, sse, type SseOptions } from "../../../mod.ts";
import { collect } from "../../../lib/testing.ts";
import { assertProblem, counting, post, recorded, soon } from "./setup.ts";

test("sse() fails with a TypeError that names the type of what is no item", async () => {
  class Token {}
  const bad: [unknown, RegExp][] = [
    [5, /number/],
    [true, /boolean/],
    [1n, /bigint/i],
    [new Date(0), /Date/],
    [new Uint8Array(2), /Uint8Array/],
    [["a"], /Array/],
    [new Token(), /Token/],
    [{ token: "a" }, /Object/],
    [() => "a", /function/],
    [Symbol("a"), /symbol/],
    [new String("a"), /String/],
    [{ data: undefined }, /undefined/],
    [{ data: () => 1 }, /function/],
    [{ data: 1n }, /bigint/i],
    [{ event: 5, data: 1 }, /number/],
  ];
  for (const [value, name] of bad) {
    const where = String(name);
    const alone = recorded();
    const response = await sse(post(), [value] as Item[], alone.options);
    await assertProblem(response, 500, "internal");
    assert.equal(alone.errors.length, 1, where);
    assert.ok(alone.errors[0] instanceof TypeError, where);
    assert.match(alone.errors[0].message, name);
    const kinds: Source<undefined>[] = [
      ["a", value] as Item[],
      async function* () {
        yield "a";
        yield value as Item;
        yield "never";
      },
      async ({ queue }) => {
        assert.equal(await queue.send("a"), true);
        assert.equal(await queue.send(value as Item), false);
        assert.equal(await queue.send("never"), false);
      },
    ];
    for (const source of kinds) {
      const { options, errors } = recorded();
      const { text, end, problem } = await collect(sse(post(), source, options));
      assert.deepEqual([text, end, problem?.code], ["a", "failed", "internal"], where);
      assert.equal(errors.length, 1, where);
      assert.ok(errors[0] instanceof TypeError, where);
      assert.match(errors[0].message, name);
    }
  }
});

test("sse() fails for an AsyncQueue that held what is no item before it was read", async () => {
  const opened = counting();
  const { options, errors } = recorded();
  const queue = new AsyncQueue<Item>();
  queue.send("a");
  queue.send(5 as unknown as Item);
  queue.send("never");
  const { text, end } = await soon(collect(sse(post(), queue, options)), "the end");
  assert.deepEqual([text, end], ["a", "failed"]);
  assert.equal(errors.length, 1);
  assert.ok(errors[0] instanceof TypeError);
  assert.deepEqual(opened(), {});
});

test("sse() fails for an AsyncQueue that somebody else reads, who keeps it", async () => {
  const opened = counting();
  const queue = new AsyncQueue<Item>();
  queue.send("a");
  const first = await sse(post(), queue);
  const { options, errors } = recorded();
  const second = await soon(sse(post(), queue, options), "the refusal");
  await assertProblem(second, 500, "internal");
  assert.ok(errors[0] instanceof TypeError);
  queue.send("b");
  queue.close();
  assert.equal((await soon(collect(first), "the end")).text, "ab");
  assert.deepEqual(opened(), {});
});

test("sse() ends the context's queue too where the source answers a queue of its own", async () => {
  const opened = counting();
  let sent: Promise<boolean> | undefined;
  let queue: AsyncQueue | undefined;
  const source = (context: { queue: AsyncQueue }) => {
    queue = context.queue;
    sent = queue.send("a".repeat(100_000));
    const own = new AsyncQueue<string>();
    own.send("b");
    own.close();
    return own;
  };
  const { text } = await collect(sse(post(), source, recorded().options));
  assert.equal(text, `${"a".repeat(100_000)}b`);
  assert.equal(await soon(sent!, "the answer to what was sent"), true);
  assert.equal(await queue!.send("late"), false);
  assert.deepEqual(opened(), {});
});

test("sse() fails for a source that is none", async () => {
  for (const source of [5, null, {}, true, new Date(0)]) {
    const { options, errors } = recorded();
    const response = await sse(post(), source as unknown as Source<undefined>, options);
    await assertProblem(response, 500, "internal");
    assert.ok(errors[0] instanceof TypeError, String(source));
  }
});

test("sse() fails for event names that are reserved or hold a line break", async () => {
  for (const event of ["done", "failed", "open", "error", "a\nb", "a\rb", "a\0"]) {
    for (const format of ["json", "text"] as const) {
      const { options, errors } = recorded({ format });
      const response = await sse(post(), ["a", { event, data: 1 }], options);
      const wire = await response.text();
      assert.match(wire, /\n\nevent: failed\ndata: .*"code":"internal".*\n\n$/);
      assert.equal(wire.match(/^event: /gm)!.length, 1);
      assert.ok(errors.length === 1 && errors[0] instanceof TypeError, event);
    }
  }
  for (const event of ["done", "failed", "open", "error"]) {
    const { options, errors } = recorded({ format: "ndjson" });
    const lines = await (await sse(post(), ["a", { event, data: 1 }], options)).text();
    assert.match(lines, /^\{"token":"a"\}\n\{"event":"failed",.*\}\n$/);
    assert.ok(errors.length === 1 && errors[0] instanceof TypeError, event);
  }
  for (const event of ["Done", "done ", "fail", "message", "opened"]) {
    const { events } = await collect(sse(post(), [{ event, data: { token: "a" } }]));
    assert.deepEqual(events.map(({ event, data }) => [event, data]), [
      [event, '{"token":"a"}'],
      ["done", '{"reason":"completed","tokens":0}'],
    ]);
  }
});

test("sse() fails an item over 1 MiB encoded with item_too_large, exactly", async () => {
  const MiB = 1024 * 1024;
  const frame = 'data: {"token":""}\n\n'.length;
  const cases: [SseOptions["format"], Item, boolean][] = [
    ["plain", "x".repeat(MiB), true],
    ["plain", "x".repeat(MiB + 1), false],
    ["plain", "テ".repeat(MiB / 3), true],
    ["plain", "テ".repeat(MiB / 3 + 1), false],
    ["json", "x".repeat(MiB - frame), true],
    ["json", "x".repeat(MiB - frame + 1), false],
    ["json", "\0".repeat(Math.floor((MiB - frame) / 6)), true],
    ["json", "\0".repeat(Math.ceil((MiB - frame + 1) / 6)), false],
    ["text", "\n".repeat(Math.floor((MiB - 8) / 7)), true],
    ["text", "\n".repeat(Math.floor((MiB - 8) / 7) + 1), false],
    ["ndjson", { event: "note", data: "x".repeat(MiB - 100) }, true],
    ["ndjson", { event: "note", data: "x".repeat(MiB) }, false],
    ["json", { event: "note", data: "テ".repeat(MiB / 3 - 100) }, true],
    ["json", { event: "note", data: "テ".repeat(MiB / 3) }, false],
  ];
  for (const [index, [format, item, fits]] of cases.entries()) {
    const { options, errors, reports } = recorded({ format: format! });
    const response = await sse(post(), [item], options);
    const where = `case ${index}, ${format}`;
    if (fits) {
      assert.equal(response.status, 200, where);
      const { length } = new Uint8Array(await response.arrayBuffer());
      assert.ok(length > MiB - 400 && length < MiB + 400, `${where}: ${length}`);
      assert.equal(errors.length, 0, where);
    } else {
      await assertProblem(response, 500, "item_too_large");
      assert.equal(reports[0]?.code, "item_too_large", where);
      assert.equal(errors.length, 1, where);
    }
  }
});

test("sse() lets one item be as large as what may wait", async () => {
  const size = 2 * 1024 * 1024;
  const frame = 'event: file\ndata: ""\n\n'.length;
  for (const [length, fits] of [[size - frame, true], [size - frame + 1, false]] as const) {
    const { options } = recorded({ maxBufferedBytes: size });
    const source = ["a", { event: "file", data: "x".repeat(length) }];
    const { items, problem } = await collect(sse(post(), source, options));
    assert.deepEqual([items.length, problem?.code], fits ? [2, undefined] : [1, "item_too_large"]);
  }
});

test("sse() delivers what came before an item that is too large", async () => {
  const size = 2 * 1024 * 1024;
  // Too long to be tried, and short enough but too large once it is written.
  const large = ["x".repeat(size), "テ".repeat(size / 4)].flatMap((data) => [data, { data }]);
  for (const item of large) {
    const { options } = recorded();
    const { text, problem } = await collect(sse(post(), ["a", "b", item, "never"], options));
    assert.deepEqual([text, problem?.code], ["ab", "item_too_large"]);
    const plain = await sse(post(), ["a", "b", "x".repeat(2 ** 21)], {
      ...options,
      format: "plain",
    });
    const reader = plain.body!.getReader();
    assert.equal(new TextDecoder().decode((await reader.read()).value), "ab");
    await assert.rejects(reader.read());
  }
});

test("sse() encodes structured data as it was when it was sent", async () => {
  const response = await sse(post(), async ({ queue }) => {
    const data = { token: "a" };
    queue.send({ data });
    data.token = "b";
    await queue.send({ data });
  });
  assert.equal((await collect(response)).text, "ab");
});
