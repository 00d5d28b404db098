/**
 * The entry as a user starts it, on Bun, Deno and Node, whichever runtime runs the test: the tutorial's
 * request, bad input, counters, signals, and a start that fails in one line.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import test, { after, before } from "node:test";
import { EventDecoder } from "../lib/sse/decode.ts";
import {
  type Entry,
  listening,
  PATIENCE_MS,
  RUNTIMES,
  startChild,
  startEntry,
  total,
} from "./support/child.ts";
import { bodyOf, rawRequest, until } from "./support/serve.ts";
import { least } from "./support/timing.ts";

const TUTORIAL = "Streaming responseのテスト";
const JSON_TYPE = { "content-type": "application/json" };
const MIB = 2 ** 20;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function post({ url }: Entry, body: BodyInit, headers: Record<string, string> = JSON_TYPE) {
  return fetch(`${url}/streaming`, { method: "POST", headers, body });
}

/** The counters, which must all be zero soon after the last reader is served. */
async function assertNothingLeft({ url }: Entry): Promise<void> {
  let active: Record<string, number> = {};
  for (let i = 0; i < 1000; i++) {
    const response = await fetch(`${url}/metrics`, { headers: { accept: "application/json" } });
    active = (await response.json()).active;
    if (total(active as never) === 0) return;
    await sleep(2);
  }
  assert.fail(`left behind: ${JSON.stringify(active)}`);
}

/** How long an entry takes to exit, with 0, once it has a signal. */
async function exitMs({ child }: Entry, signal: "SIGTERM" | "SIGINT"): Promise<number> {
  const fromMs = performance.now();
  child.kill(signal);
  await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
  assert.equal(child.exit, 0, child.errors);
  return performance.now() - fromMs;
}

/** What arrived when: the lines of one curl-like request, timed as they come in. */
async function timed(entry: Entry): Promise<{ text: string; at: { data: string; ms: number }[] }> {
  const fromMs = performance.now();
  const raw = await rawRequest(entry.port, {
    method: "POST",
    path: "/streaming",
    headers: { ...JSON_TYPE, accept: "text/event-stream" },
    body: Buffer.from(JSON.stringify({ query: TUTORIAL })).toString("latin1"),
  });
  const at: { data: string; ms: number }[] = [];
  let seen = 0;
  raw.socket.on("data", () => {
    const ms = performance.now() - fromMs;
    const text = raw.received;
    for (let next; (next = text.indexOf("data: ", seen)) >= 0; seen = next + 6) {
      at.push({ data: text.slice(next + 6, text.indexOf("\n", next)), ms });
    }
  });
  await until(() => raw.received.endsWith("\r\n0\r\n\r\n"), 20_000, "the end");
  raw.socket.destroy();
  return { text: bodyOf(raw).text, at };
}

interface Bad {
  name: string;
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: BodyInit;
  status: number;
  code: string;
  pointer?: string;
  detail?: string;
  allow?: string;
}

const query = JSON.stringify({ query: "a" });
const deep = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;

const BAD: Bad[] = [
  { name: "malformed JSON", body: '{"query":', status: 400, code: "bad_request" },
  { name: "JSON and more", body: `${query} x`, status: 400, code: "bad_request" },
  { name: "an empty body", body: "", status: 400, code: "bad_request" },
  { name: "a blank body", body: " \n ", status: 400, code: "bad_request" },
  {
    name: "depth 65",
    body: `{"query":"a","x":${deep(64)}}`,
    status: 400,
    code: "bad_request",
  },
  {
    name: "depth 100,000",
    body: deep(100_000),
    status: 400,
    code: "bad_request",
  },
  {
    name: "invalid UTF-8",
    body: Uint8Array.from([...Buffer.from('{"query":"'), 0xff, ...Buffer.from('"}')]),
    status: 400,
    code: "bad_request",
  },
  {
    name: "a media type of a form",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    status: 415,
    code: "unsupported_media_type",
  },
  {
    name: "text/plain, which a page elsewhere could send",
    headers: { "content-type": "text/plain" },
    status: 415,
    code: "unsupported_media_type",
  },
  {
    name: "another charset",
    headers: { "content-type": "application/json; charset=shift_jis" },
    status: 415,
    code: "unsupported_media_type",
  },
  {
    name: "a content coding",
    headers: { ...JSON_TYPE, "content-encoding": "gzip" },
    status: 415,
    code: "unsupported_media_type",
  },
  { name: "no query", body: "{}", status: 422, code: "invalid_input", pointer: "/query" },
  {
    name: "a query of the wrong type",
    body: '{"query":5}',
    status: 422,
    code: "invalid_input",
    pointer: "/query",
  },
  { name: "no object", body: "[]", status: 422, code: "invalid_input", pointer: "" },
  {
    name: "over 1 MiB with a length",
    body: JSON.stringify({ query: "x".repeat(MIB) }),
    status: 413,
    code: "payload_too_large",
  },
  { name: "an unknown path", path: "/nothing", status: 404, code: "not_found" },
  {
    name: "a wrong method",
    method: "PUT",
    status: 405,
    code: "method_not_allowed",
    allow: "POST, GET, HEAD, OPTIONS",
  },
  {
    name: "a visit of the route that streams",
    method: "GET",
    headers: {},
    status: 400,
    code: "bad_request",
    detail: "runId is missing; POST begins a stream",
  },
  {
    name: "a wrong method of another route",
    path: "/health",
    status: 405,
    code: "method_not_allowed",
    allow: "GET, HEAD, OPTIONS",
  },
];

for (const runtime of RUNTIMES) {
  let entry: Entry;
  before(async () => {
    // Nobody comes back here: what comes back is the subject of http/resume_test.ts.
    entry = await listening(startEntry(runtime, { DISCONNECT_GRACE_MS: "0" }));
  });
  after(() => entry.child.stop());

  test(`${runtime}: the start-up line tells the real address and what to try`, () => {
    const { child, url } = entry;
    assert(entry.port > 0);
    assert(child.output.includes(`${url}/streaming`), child.output);
    assert(child.output.includes("curl -N -X POST"), child.output);
    assert(child.output.includes(TUTORIAL), child.output);
    assert.equal(child.errors, "");
  });

  test(`${runtime}: every address of the start-up card is served`, async () => {
    const { child, url } = entry;
    const card = child.output.slice(0, child.output.indexOf("curl"));
    const places = [...card.matchAll(/http:\S+/g)].map(([place]) => place)
      .filter((place) => place !== url);
    assert(places.includes(`${url}/health`) && places.length >= 3, card);
    for (const place of places) {
      const response = await fetch(place);
      assert.equal(response.status, 200, place);
      await response.text();
    }
  });

  test(`${runtime}: LOG=json prints nothing but JSON, a line a stream, and never its query`, async () => {
    const environment = { LOG: "json", TOKEN_DELAY_MS: "0", DISCONNECT_GRACE_MS: "0" };
    const child = startEntry(runtime, environment);
    const lines = () => child.output.split("\n").filter(Boolean);
    try {
      await until(() => lines().length === 1, PATIENCE_MS, `a start: ${child.errors}`);
      const { event, url } = JSON.parse(lines()[0]!);
      assert.equal(event, "listening");
      const other = { child, url, port: Number(new URL(url).port) };
      await (await post(other, JSON.stringify({ query: "confidential" }))).text();
      await (await post(other, "{}")).text();
      const leaving = new AbortController();
      const response = await fetch(`${url}/streaming`, {
        method: "POST",
        headers: JSON_TYPE,
        body: JSON.stringify({ query: "x".repeat(1_000_000) }),
        signal: leaving.signal,
      });
      await response.body!.getReader().read();
      leaving.abort();
      await until(() => lines().length === 3, PATIENCE_MS, child.output);
      const [, first, second] = lines().map((line) => JSON.parse(line));
      assert.equal(first.outcome, "completed");
      assert.equal(first.tokens, "confidential".length);
      assert(first.bytes > 100 && first.ttftMs >= 0 && first.durationMs >= first.ttftMs);
      assert.match(first.streamId, /^[\w-]{22}$/);
      assert.deepEqual([second.outcome, second.code], ["cancelled", "disconnected"]);
      assert.doesNotMatch(`${child.output}${child.errors}`, /confidential|xxx/);
    } finally {
      await child.stop();
    }
  });

  test(`${runtime}: a flag beats its variable, and a stream is a line unless LOG=off`, async () => {
    for (const log of ["pretty", "off"]) {
      const flags = ["--log", log, "--token-delay-ms=0"];
      const other = await listening(startEntry(runtime, { LOG: "json" }, 0, flags));
      try {
        const before = other.child.output;
        const answer = await (await post(other, query)).text();
        assert.match(answer, /event: done/);
        if (log === "pretty") {
          await until(() => other.child.output !== before, PATIENCE_MS, "a line");
          const line = other.child.output.slice(before.length);
          assert.match(line, /^\S+ {2}completed {2}1 token .*\n$/);
        } else {
          await assertNothingLeft(other);
          assert.equal(other.child.output, before);
        }
      } finally {
        await other.child.stop();
      }
    }
  });

  test(`${runtime}: --help prints the flags and exits with 0`, async () => {
    const child = startEntry(runtime, {}, 0, ["--help"]);
    try {
      await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.equal(child.exit, 0);
      assert.match(child.output, /--max-streams NUMBER +MAX_STREAMS +10000/);
      assert.equal(child.errors, "");
    } finally {
      await child.stop();
    }
  });

  test(`${runtime}: a flag that is none stops the start with one line that names it`, async () => {
    const child = startEntry(runtime, {}, 0, ["--prot=1"]);
    try {
      await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.equal(child.exit, 1);
      assert.match(child.errors, /^spillway: "--prot=1" [^\n]*\n$/);
      assert.equal(child.output, "");
    } finally {
      await child.stop();
    }
  });

  test(`${runtime}: the tutorial's request, one code point every 100 ms`, async () => {
    await (await post(entry, JSON.stringify({ query: "ab" }))).text();
    let faults: string[] = [];
    // The machine may have been busy with something else.
    for (let attempt = 0; attempt < 5; attempt++) {
      const { text, at } = await timed(entry);
      const tokens = at.slice(0, -1).map(({ data }) => data);
      assert.equal(tokens.length, 22);
      assert(text.startsWith(":\n"), "a comment first");
      const events = new EventDecoder().feed(new TextEncoder().encode(text));
      assert.deepEqual(events.slice(0, -1).map(({ data }) => JSON.parse(data).token), [
        ...TUTORIAL,
      ]);
      assert.equal(events.at(-1)?.event, "done");
      const id = /^:\nid: ([\w-]{22})\.1\nretry: 1000\ndata: \{"token":"S"\}\n\n/.exec(text)?.[1];
      const end = `event: done\ndata: {"reason":"completed","tokens":22}`;
      assert(id !== undefined && text.endsWith(`\n\nid: ${id}.23\n${end}\n\n`), text);
      faults = at.slice(1, -1).map(({ ms }, i) => ms - at[i]!.ms)
        .filter((gapMs) => gapMs < 80 || gapMs > 150)
        .map((gapMs) => `a gap of ${gapMs.toFixed(1)} ms`);
      if (at[0]!.ms > 50) faults.push(`the first after ${at[0]!.ms.toFixed(1)} ms`);
      if (faults.length === 0) break;
    }
    assert.deepEqual(faults, []);
    await assertNothingLeft(entry);
  });

  for (const bad of BAD) {
    test(`${runtime}: bad input is a problem: ${bad.name}`, async () => {
      const response = await fetch(`${entry.url}${bad.path ?? "/streaming"}`, {
        method: bad.method ?? "POST",
        headers: bad.headers ?? JSON_TYPE,
        ...bad.method === "GET" ? {} : { body: bad.body ?? query },
      });
      assert.equal(response.headers.get("content-type"), "application/problem+json");
      assert.equal(response.headers.get("cache-control"), "no-store");
      const text = await response.text();
      const problem = JSON.parse(text);
      assert.equal(response.status, bad.status, text);
      assert.equal(problem.status, bad.status);
      assert.equal(problem.code, bad.code);
      assert.equal(typeof problem.type, "string");
      assert.equal(typeof problem.title, "string");
      if (bad.pointer !== undefined) assert.equal(problem.errors[0].pointer, bad.pointer);
      if (bad.detail !== undefined) assert.equal(problem.detail, bad.detail);
      if (bad.allow !== undefined) assert.equal(response.headers.get("allow"), bad.allow);
      assert.doesNotMatch(text, /at .*:\d+|\/lib\/|Error:/);
    });
  }

  test(`${runtime}: over 1 MiB in chunks is refused while it arrives`, async () => {
    const raw = await rawRequest(entry.port, {
      method: "POST",
      path: "/streaming",
      headers: { ...JSON_TYPE, "transfer-encoding": "chunked" },
    });
    raw.socket.on("error", () => {}); // the rest of the body may be refused with a reset
    const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;
    for (let sent = 0; sent < 40 && !raw.received.includes("\r\n\r\n"); sent++) {
      raw.socket.write(sent === 0 ? `a\r\n{"query":"\r\n` : chunk);
      await sleep(1);
    }
    await until(() => raw.received.includes("payload_too_large"), 20_000, "the refusal");
    assert.match(raw.received, /^HTTP\/1\.1 413 /);
    assert.match(raw.received, /application\/problem\+json/);
    raw.socket.destroy();
    await assertNothingLeft(entry);
  });

  test(`${runtime}: depth 64 and a body of almost 1 MiB are served`, async () => {
    for (
      const body of [`{"query":"","x":${deep(63)}}`, `{"query":"","x":"${"x".repeat(MIB - 50)}"}`]
    ) {
      const response = await post(entry, body);
      assert.equal(response.status, 200);
      assert.match(await response.text(), /event: done/);
    }
  });

  test(`${runtime}: a reader that leaves while its body is read leaves nothing`, async () => {
    for (const how of ["end", "destroy", "resetAndDestroy"] as const) {
      const raw = await rawRequest(entry.port, {
        method: "POST",
        path: "/streaming",
        headers: { ...JSON_TYPE, "content-length": "1000" },
      });
      raw.socket.on("error", () => {}); // a reset may come back to us
      raw.socket.write('{"query":"');
      await sleep(30);
      raw.socket[how]();
      await sleep(30);
      await assertNothingLeft(entry);
      raw.socket.destroy();
    }
  });

  test(`${runtime}: /health, HEAD and OPTIONS`, async () => {
    const health = await fetch(`${entry.url}/health`);
    assert.equal(health.status, 200);
    assert.deepEqual(await health.json(), { status: "ok" });
    const head = await fetch(`${entry.url}/health`, { method: "HEAD" });
    assert.equal(head.status, 200);
    assert.equal(head.headers.get("content-type"), "application/json");
    assert.equal(await head.text(), "");
    const options = await fetch(`${entry.url}/streaming`, { method: "OPTIONS" });
    assert.equal(options.status, 204);
    assert.equal(options.headers.get("allow"), "POST, GET, HEAD, OPTIONS");
    await options.text();
  });

  test(`${runtime}: /metrics counts what runs, and zero when nothing does`, async () => {
    const reader = await post(entry, query.replace("a", "x".repeat(100)));
    const stream = reader.body!.getReader();
    await stream.read();
    const busy = await (await fetch(`${entry.url}/metrics`)).text();
    assert.match(busy, /^spillway_active\{kind="streams"\} 1$/m);
    await stream.cancel();
    await assertNothingLeft(entry);
    const response = await fetch(`${entry.url}/metrics`);
    assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    const counts = [...text.matchAll(/^spillway_active\{kind="(\w+)"\} (\d+)$/gm)];
    assert.deepEqual(counts.map((match) => match[1]).sort(), [
      "bodyBytes",
      "listeners",
      "readers",
      "sources",
      "streams",
      "timers",
      "upstreams",
      "waiters",
    ]);
    for (const [, kind, count] of counts) assert.equal(count, "0", `${kind}`);
    assert.match(text, /^spillway_ended_total\{outcome="cancelled"\} 1$/m);
    // Every line is a comment or a sample.
    for (const line of text.trimEnd().split("\n")) {
      assert.match(line, /^# (HELP|TYPE) \w+ .+$|^\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [\d.e+-]+$/);
    }
  });

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`${runtime}: ${signal} ends open streams with shutting_down and exits with 0`, async () => {
      // An interrupt is not patient; a termination is as patient as it was told to be.
      const patience = { DRAIN_TIMEOUT_MS: signal === "SIGTERM" ? "0" : "25000" };
      const ended = async () => {
        const other = await listening(startEntry(runtime, patience));
        try {
          const readers = await Promise.all(Array.from({ length: 3 }, () =>
            rawRequest(other.port, {
              method: "POST",
              path: "/streaming",
              headers: JSON_TYPE,
              body: JSON.stringify({ query: "x".repeat(1000) }),
            })));
          const isStreaming = () => readers.every((raw) => raw.received.includes("data: "));
          await until(isStreaming, PATIENCE_MS, "streams");
          const tookMs = await exitMs(other, signal);
          await until(() => readers.every((raw) => raw.ended), 1000, "every connection ended");
          for (const raw of readers) {
            const { text, whole } = bodyOf(raw);
            assert(whole, "the body has its end");
            const last = new EventDecoder().feed(new TextEncoder().encode(text)).at(-1);
            assert.equal(last?.event, "failed");
            assert.equal(JSON.parse(last.data).code, "shutting_down");
            raw.socket.destroy();
          }
          return tookMs;
        } finally {
          await other.child.stop();
        }
      };
      const tookMs = await least(1000, ended);
      assert(tookMs < 1000, `${tookMs.toFixed()} ms`);
    });
  }

  test(`${runtime}: SIGTERM lets an open stream come to its end, and then exits with 0`, async () => {
    const other = await listening(startEntry(runtime, { TOKEN_DELAY_MS: "50" }));
    try {
      const answer = post(other, JSON.stringify({ query: "drained to the end" }));
      const response = await answer;
      other.child.kill("SIGTERM");
      const text = await response.text();
      assert.match(text, /event: done\n/);
      assert.equal(text.match(/"token"/g)?.length, 18);
      await until(() => other.child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.equal(other.child.exit, 0, other.child.errors);
    } finally {
      await other.child.stop();
    }
  });

  test(`${runtime}: SIGTERM with nothing open, and with an idle connection, exits with 0`, async () => {
    const ended = async () => {
      const other = await listening(startEntry(runtime));
      try {
        const idle = await rawRequest(other.port, { path: "/health" });
        await until(() => idle.received.includes("ok"), 20_000, "an answer");
        const tookMs = await exitMs(other, "SIGTERM");
        idle.socket.destroy();
        return tookMs;
      } finally {
        await other.child.stop();
      }
    };
    const tookMs = await least(1000, ended);
    assert(tookMs < 1000, `${tookMs.toFixed()} ms`);
  });

  /** Wrong by itself, or without another one. */
  const nonsense: Record<string, string> = {
    TOKEN_DELAY_MS: "-1",
    HEARTBEAT_MS: "50",
    COMMIT_AFTER_MS: "9999",
    MAX_STREAMS: "0",
    LOG: "xml",
    CORS_ORIGINS: "https://a.example/",
    CORS_CREDENTIALS: "on",
    DRAIN_DELAY_MS: "-1",
    ALLOWED_HOSTS: "a.example:80",
    REDIS_URL: "nonsense",
    OPENAI_BASE_URL: "nonsense",
    OPENAI_MODEL: "a-model",
    OPENAI_API_KEY: "sk-0123",
    OPENAI_FALLBACK: "a.json",
    OPENAI_RETRIES: "many",
    MAX_BODY_BYTES: "0",
    ...runtime !== "deno" ? { PORT: "abc" } : {},
  };
  for (const [name, value] of Object.entries(nonsense)) {
    test(`${runtime}: ${name}=${value} stops the start with one line that names it`, async () => {
      const child = startEntry(runtime, { [name]: value });
      try {
        await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
        assert.equal(child.exit, 1);
        assert.match(child.errors, new RegExp(`^spillway: [^\n]*${name}[^\n]*\n$`));
        assert.equal(child.output, "");
        assert(!child.errors.includes("sk-0123"), child.errors);
      } finally {
        await child.stop();
      }
    });
  }

  test(`${runtime}: a port that another server of ours has is one line`, async () => {
    const child = startEntry(runtime, {}, entry.port);
    try {
      await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.equal(child.exit, 1);
      assert.match(child.errors, /^spillway: cannot listen[^\n]*: the port is taken[^\n]*\n$/);
      assert.equal(child.output, "");
    } finally {
      await child.stop();
    }
  });

  test(`${runtime}: the line for curl works as it is printed, also with a key and a host`, {
    skip: spawnSync("curl", ["--version"]).status !== 0 && "curl is missing",
  }, async () => {
    const environment = { API_KEYS: "sk-0123", ALLOWED_HOSTS: "chat.example", TOKEN_DELAY_MS: "0" };
    const other = await listening(startEntry(runtime, environment));
    try {
      const { child } = other;
      await until(() => child.output.includes("/streaming\n"), PATIENCE_MS, "the line");
      assert(!child.output.includes("sk-0123"), child.output);
      const line = child.output.slice(child.output.indexOf("curl -N"));
      for (const KEY of ["sk-0123", "another"]) {
        const curl = startChild("sh", ["-c", line], { KEY });
        await until(() => curl.exit !== undefined, PATIENCE_MS, "an answer");
        assert.match(curl.output, KEY === "another" ? /"code":"unauthorized"/ : /event: done/);
      }
    } finally {
      await other.child.stop();
    }
  });

  test(`${runtime}: the card names the upstream, and not its key`, async () => {
    const relay = {
      OPENAI_BASE_URL: "http://user:secret@127.0.0.1:9/v1",
      OPENAI_MODEL: "a-model",
      OPENAI_API_KEY: "sk-0123",
    };
    const other = await listening(startEntry(runtime, relay));
    try {
      const { output } = other.child;
      assert.match(output, /^Source: relay to 127\.0\.0\.1:9, model a-model$/m);
      assert.doesNotMatch(output, /secret|sk-0123|Others/);
      assert.match(entry.child.output, /^Source: echo$/m);
    } finally {
      await other.child.stop();
    }
  });

  test(`${runtime}: an address that others can reach without a key is said in one line`, async () => {
    for (const API_KEYS of ["", "sk-0123"]) {
      const child = startEntry(runtime, { API_KEYS, HOST: "0.0.0.0" }, 0, [], "0.0.0.0");
      try {
        await listening(child);
        const warned = /^Others can reach this address without an API key.*$/m.test(child.output);
        assert.equal(warned, API_KEYS === "", child.output);
      } finally {
        await child.stop();
      }
    }
  });
}
