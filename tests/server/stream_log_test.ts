/** What the entry prints: the card, a line for each stream in either style, and nothing that obeys. */
import assert from "node:assert/strict";
import test from "node:test";
import { StreamError } from "../../lib/error.ts";
import type { LogStyle } from "../../lib/server/settings.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { createStreamLog, type Start, type StreamLog } from "../../lib/server/stream_log.ts";

const REPORT: StreamReport = {
  streamId: "AAAAAAAAAAAAAAAAAAAAAA",
  outcome: "completed",
  ttftMs: 1.23456,
  durationMs: 2104.98765,
  tokens: 22,
  bytes: 619,
};
const URL_ = "http://127.0.0.1:8000";
const START: Start = {
  url: URL_,
  everywhere: false,
  source: "echo",
  wantsKey: false,
  isOpen: false,
};

function printed(style: LogStyle, use: (terminal: StreamLog) => void, colour = false): string[] {
  const lines: string[] = [];
  const print = (line: string) => lines.push(line);
  use(
    createStreamLog({ style, colour, print, printError: (error) => lines.push(error as string) }),
  );
  return lines;
}

/** Whether a terminal would take any of it for a command; a card has lines. */
const obeys = (text: string) => /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text.replaceAll("\n", ""));

test("pretty: one line for a stream, with all that is reported", () => {
  const [line, ...others] = printed("pretty", ({ closed }) => closed(REPORT));
  assert.deepEqual(others, []);
  assert.match(
    line!,
    /^\d\d:\d\d:\d\d {2}completed {2}22 tokens {2}619 bytes {2}first after 1\.2 ms {2}2105 ms in all {2}A{22}$/,
  );
});

test("the card says whether a client needs a key, and one token is no plural", () => {
  const cardOf = (wantsKey: boolean) =>
    printed("pretty", ({ listening }) => listening({ ...START, wantsKey }))[0]!;
  assert.match(cardOf(false), /^Keys: none; API_KEYS asks/m);
  assert.match(cardOf(true), /^Keys: a client must send one of API_KEYS$/m);
  assert.match(
    printed("pretty", ({ closed }) => closed({ ...REPORT, tokens: 1 }))[0]!,
    / {2}1 token {2}/,
  );
});

test("pretty: a failure says its code, and a stream without an item that there was none", () => {
  const { ttftMs: _, ...report } = REPORT;
  const [line] = printed(
    "pretty",
    ({ closed }) =>
      closed({ ...report, ttftMs: undefined, outcome: "failed", code: "bad_upstream" }),
  );
  assert.match(line!, / {2}failed: bad_upstream {2}/);
  assert.match(line!, / {2}none sent {2}/);
});

test("json: every line is an object, the start as well", () => {
  const lines = printed("json", (terminal) => {
    terminal.listening(START);
    terminal.closed(REPORT);
    terminal.closed({ ...REPORT, ttftMs: undefined, outcome: "cancelled", code: "disconnected" });
  });
  const [start, first, second] = lines.map((line) => JSON.parse(line));
  assert.equal(lines.length, 3);
  for (const { time } of [start, first, second]) {
    assert.equal(new Date(time).toISOString(), time);
  }
  assert.deepEqual(start, { time: start.time, event: "listening", url: URL_, source: "echo" });
  assert.deepEqual(first, {
    time: first.time,
    event: "closed",
    outcome: "completed",
    ttftMs: 1.2,
    durationMs: 2105,
    tokens: 22,
    bytes: 619,
    streamId: REPORT.streamId,
  });
  assert.equal(second.code, "disconnected");
  assert.equal("ttftMs" in second, false);
});

test("off: the card and no line for any stream", () => {
  assert.deepEqual(printed("off", ({ closed }) => closed(REPORT)), []);
  assert.equal(printed("off", ({ listening }) => listening(START)).length, 1);
});

test("the card tells where it listens, what to open and what to try", () => {
  const [card] = printed("pretty", ({ listening }) => listening(START));
  assert.match(card!, /^Spillway listens on http:\/\/127\.0\.0\.1:8000\n/);
  assert(card!.includes(`curl -N -X POST -H "Content-Type: application/json"`));
  assert(card!.includes(`-d '{"query":"Streaming responseのテスト"}' ${URL_}/streaming\n`));
  const [everywhere] = printed(
    "pretty",
    ({ listening }) => listening({ ...START, everywhere: true }),
  );
  assert.match(everywhere!, /8000 \(and every other address\)/);
});

test("the card names the source, and no line of it obeys", () => {
  const cardOf = (start: Partial<Start>) =>
    printed("pretty", ({ listening }) => listening({ ...START, ...start }))[0]!;
  assert.match(cardOf({}), /^Source: echo$/m);
  const relay = cardOf({ source: "relay to a.example, model m\x1b[2J\n" });
  assert.match(relay, /^Source: relay to a\.example, model m\\u001b\[2J\\u000a$/m);
  assert(!obeys(relay));
});

test("an address that others reach without a key is said in one line, in both styles", () => {
  const open = { ...START, isOpen: true };
  const [card] = printed("pretty", ({ listening }) => listening(open));
  assert.match(card!, /^Others can reach this address without an API key.*$/m);
  const [line] = printed("json", ({ listening }) => listening(open));
  assert.match(JSON.parse(line!).warning, /^Others can reach/);
  const [closed] = printed("pretty", ({ listening }) => listening(START));
  assert(!closed!.includes("Others"));
});

test("the line for curl has a place for a key and a host where they are wanted", () => {
  const [card] = printed(
    "pretty",
    ({ listening }) => listening({ ...START, wantsKey: true, host: "chat.example" }),
  );
  assert(card!.includes(`\\\n     -H "Authorization: Bearer $KEY" -H "Host: chat.example" \\\n`));
  assert(card!.includes("\nWith one of API_KEYS as KEY:\ncurl "));
});

test("a code of control characters is escaped in both styles", () => {
  const code = "a\x1b[2Jb\r\nforged\x9bc\u2028\u202e\u{e0001}\x7f";
  for (const style of ["pretty", "json"] as const) {
    const [line = ""] = printed(
      style,
      ({ closed }) => closed({ ...REPORT, outcome: "failed", code }),
    );
    assert(!/[\n\r]/.test(line), line);
    assert(!obeys(line), JSON.stringify(line));
    if (style === "json") assert.equal(JSON.parse(line).code, code, "and nothing is lost");
    else assert(line.includes("a\\u001b[2Jb\\u000d\\u000aforged\\u009bc\\u2028\\u202e"), line);
  }
});

test("colours are only where they are wanted, and never in JSON", () => {
  const all = (terminal: StreamLog) => {
    terminal.listening(START);
    terminal.closed(REPORT);
  };
  assert(printed("pretty", all, true).every((text) => text.includes("\x1b[")));
  assert(!obeys(printed("pretty", all).join("")));
  assert(!obeys(printed("json", all, true).join("")));
});

test("only what the report is known to hold is logged", () => {
  const more = { ...REPORT, query: "secret", input: { query: "secret" } } as StreamReport;
  for (const style of ["pretty", "json"] as const) {
    assert(!printed(style, ({ closed }) => closed(more)).join("").includes("secret"));
  }
});

const UPSTREAM = new StreamError("bad_upstream", { cause: new Error("it said\x1b[2J: no\n") });

test("an upstream's failure is one line with its reason, in every style", () => {
  for (const style of ["pretty", "off"] as const) {
    const [line, ...others] = printed(style, ({ failed }) => failed(UPSTREAM));
    assert.deepEqual(others, []);
    assert.match(line!, /^\d\d:\d\d:\d\d {2}bad_upstream {2}it said\\u001b\[2J: no\\u000a$/);
    assert(!obeys(line!));
  }
  const [line] = printed("json", ({ failed }) => failed(UPSTREAM));
  const { time, ...rest } = JSON.parse(line!);
  assert.equal(new Date(time).toISOString(), time);
  assert.deepEqual(rest, {
    event: "error",
    code: "bad_upstream",
    message: "it said\x1b[2J: no\n",
  });
});

test("the failures of several upstreams are one line as well", () => {
  const one = new Error("A failed", { cause: UPSTREAM });
  const two = new Error("B failed", { cause: new StreamError("truncated") });
  const all = new StreamError("truncated", { cause: new AggregateError([one, two]) });
  const lines = printed("pretty", ({ failed }) => {
    failed(one);
    failed(all);
  });
  const said = "A failed: it said\\u001b[2J: no\\u000a";
  assert(lines[0]!.endsWith(`  bad_upstream  ${said}`), lines[0]!);
  const { title } = new StreamError("truncated");
  assert(lines[1]!.endsWith(`  truncated  ${said}; B failed: ${title}`), lines[1]!);
});

test("a bug is printed as it is, with its stack", () => {
  const bug = new TypeError("undefined is not a function");
  assert.deepEqual(printed("pretty", ({ failed }) => failed(bug)), [bug]);
});
