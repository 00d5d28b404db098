/** `encodeEvent()`: the exact bytes of each field, and that no string can forge one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeEvent, EventDecoder, type ServerSentEventInit } from "../../mod.ts";
import { eventFrame, EventWriter } from "../../lib/sse/encode.ts";
import { hostile, int, pick, random } from "../support/random.ts";

const utf8 = new TextEncoder();

test("encodeEvent() writes each field exactly", () => {
  const cases: [ServerSentEventInit, string][] = [
    [{ data: "a" }, "data: a\n\n"],
    [{ data: "" }, "data: \n\n"],
    [{ data: " two" }, "data:  two\n\n"],
    [{ data: ":" }, "data: :\n\n"],
    [{ data: "テスト😀" }, "data: テスト😀\n\n"],
    [{ data: "\ufeff\0\u2028\u0085" }, "data: \ufeff\0\u2028\u0085\n\n"],
    [{ event: "note", data: "a" }, "event: note\ndata: a\n\n"],
    [{ event: "", data: "a" }, "data: a\n\n"],
    [{ event: " a", data: "a" }, "event:  a\ndata: a\n\n"],
    [{ id: "7", data: "a" }, "id: 7\ndata: a\n\n"],
    [{ id: "", data: "a" }, "id: \ndata: a\n\n"],
    [{ id: "7" }, "id: 7\n\n"],
    [{ event: "note" }, "event: note\n\n"],
    [{ retry: 100 }, "retry: 100\n\n"],
    [{ retry: 60_000, data: "a" }, "retry: 60000\ndata: a\n\n"],
    [{ comment: "", data: "a" }, ":\ndata: a\n\n"],
    [
      { comment: "c", id: "7", retry: 1000, event: "note", data: "a\nb" },
      ": c\nid: 7\nretry: 1000\nevent: note\ndata: a\ndata: b\n\n",
    ],
    [{}, ""],
  ];
  for (const [init, wire] of cases) assert.equal(encodeEvent(init), wire);
});

test("encodeEvent() begins a data line at each CRLF, CR and LF", () => {
  const cases: [string, string][] = [
    ["a\nb", "data: a\ndata: b\n\n"],
    ["a\rb", "data: a\ndata: b\n\n"],
    ["a\r\nb", "data: a\ndata: b\n\n"],
    ["\n", "data: \ndata: \n\n"],
    ["\r\n", "data: \ndata: \n\n"],
    ["\n\r", "data: \ndata: \ndata: \n\n"],
    ["\r\r\n\n", "data: \ndata: \ndata: \ndata: \n\n"],
    ["a\n\ndata: x\n\n", "data: a\ndata: \ndata: data: x\ndata: \ndata: \n\n"],
  ];
  for (const [data, wire] of cases) assert.equal(encodeEvent({ data }), wire);
});

test("encodeEvent() gives every line of a comment its colon and no blank line", () => {
  assert.equal(encodeEvent({ comment: "" }), ":\n");
  assert.equal(encodeEvent({ comment: "ping" }), ": ping\n");
  assert.equal(encodeEvent({ comment: "a\nb\rc\r\nd" }), ": a\n: b\n: c\n: d\n");
  assert.equal(encodeEvent({ comment: "\n\ndata: x\n\n" }), ": \n: \n: data: x\n: \n: \n");
});

test("encodeEvent() refuses CR, LF and NUL in an event name and an id", () => {
  for (const bad of ["\r", "\n", "\0", "a\rb", "a\nb", "a\r\nb", "a\0", "\ndata: x"]) {
    assert.throws(() => encodeEvent({ event: bad, data: "a" }), TypeError, JSON.stringify(bad));
    assert.throws(() => encodeEvent({ id: bad, data: "a" }), TypeError, JSON.stringify(bad));
  }
});

test("encodeEvent() refuses a retry that is not an integer from 100 to 60000", () => {
  const bad = [99, 60_001, 0, -1000, 1000.5, NaN, Infinity, "1000", "1000\ndata: x", null, 1000n];
  for (const retry of bad) {
    assert.throws(
      () => encodeEvent({ retry, data: "a" } as ServerSentEventInit),
      RangeError,
      String(retry),
    );
  }
});

test("encodeEvent() refuses a field that is not a string", () => {
  for (const field of ["data", "event", "id", "comment"]) {
    for (const value of [1, null, true, {}, ["a"], new String("a"), Symbol("a")]) {
      const init = { data: "a", [field]: value } as ServerSentEventInit;
      assert.throws(() => encodeEvent(init), TypeError, `${field}: ${String(value)}`);
    }
  }
});

test("EventWriter.event() leaves nothing of a refused event behind", () => {
  const out = new EventWriter();
  out.event({ data: "before" });
  const { length } = out;
  const refused: ServerSentEventInit[] = [
    { comment: "c", id: "7", event: "a\nb", data: "a" },
    { comment: "c", id: "7\0", data: "a" },
    { comment: "c", id: "7", event: "note", retry: 99, data: "a" },
    { comment: "c", id: "7", data: 1 as unknown as string },
  ];
  for (const init of refused) {
    assert.throws(() => out.event(init));
    assert.equal(out.length, length);
  }
  assert.throws(() => encodeEvent({ id: "7", event: "a\nb", data: "a" }));
  assert.equal(encodeEvent({ data: "after" }), "data: after\n\n");
});

test("eventFrame() writes the text as JSON between its parts and refuses line breaks in them", () => {
  const out = new EventWriter();
  out.frame(eventFrame("note", '{"a":"', '","b":1}'), 'x\n"\ud83d');
  assert.equal(
    new TextDecoder().decode(out.take()),
    'event: note\ndata: {"a":"x\\n\\"\\ud83d","b":1}\n\n',
  );
  assert.throws(() => eventFrame("a\nb", "", ""), TypeError);
  assert.throws(() => eventFrame(undefined, "\n", ""), TypeError);
  assert.throws(() => eventFrame(undefined, "", "\r"), TypeError);
});

test("encodeEvent() is refused or decodes to exactly the one event, for hostile fields", () => {
  let refused = 0;
  for (let seed = 0; seed < 2000; seed++) {
    const chance = random(seed);
    const init: ServerSentEventInit = { data: hostile(chance, 8) };
    if (int(chance, 2) === 0) init.event = hostile(chance, 2);
    if (int(chance, 2) === 0) init.id = hostile(chance, 2);
    if (int(chance, 2) === 0) init.comment = hostile(chance, 4);
    if (int(chance, 4) === 0) init.retry = pick(chance, [99, 100, 1000, 60_000, 60_001, 0.5]);
    let wire: string;
    try {
      wire = encodeEvent(init);
    } catch (error) {
      refused++;
      const badLine = /[\r\n\0]/.test(`${init.event ?? ""}${init.id ?? ""}`);
      assert.ok(error instanceof (badLine ? TypeError : RangeError), `seed ${seed}`);
      assert.ok(badLine || [99, 60_001, 0.5].includes(init.retry!), `seed ${seed}`);
      continue;
    }
    const name = init.event?.toWellFormed() || "message";
    const expected = {
      event: name,
      data: init.data!.replace(/\r\n?/g, "\n").toWellFormed(),
      lastEventId: init.id?.toWellFormed() ?? "",
      ...init.retry === undefined ? {} : { retry: init.retry },
    };
    // A witness after it: nothing of the event may reach into the next.
    const bytes = utf8.encode(`${wire}data: witness\n\n`);
    const witness = { event: "message", data: "witness", lastEventId: expected.lastEventId };
    assert.deepEqual(new EventDecoder().feed(bytes), [expected, witness], `seed ${seed}`);
  }
  assert.ok(refused > 100 && refused < 1900, `${refused} of 2000 refused`);
});
