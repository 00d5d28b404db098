/**
 * Each fault of the mock upstream does what its name says, seen from a raw socket and through `fetch`.
 * It stands apart from the relay's tests: a fault that does not happen makes all of those pass for nothing.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { clearTimeout, setTimeout } from "node:timers";
import { faults, type Mock, type MockRequest, SECRET, startMock } from "./mock.ts";

const TEXT = " Streaming responseのテスト 👩‍👩‍👧\r\n\r\n  blank line above, 𝒳 and a tail. ";

let mock: Mock;
before(async () => {
  mock = await startMock();
});
after(async () => {
  await mock.close();
  assert.equal(mock.open, 0);
});

interface AskOptions {
  text?: string;
  stream?: boolean;
  /** Leaves once so much has arrived. */
  maxBytes?: number;
  /** Leaves after so long a silence. */
  silenceMs?: number;
  headers?: string;
  extra?: Record<string, unknown>;
}

interface Answer {
  /** The bytes as they came, one character each. */
  raw: string;
  head: string;
  /** Without the chunk framing. */
  body: string;
  /** Whether the last chunk came. */
  whole: boolean;
  end: "fin" | "rst" | "left";
  ms: number;
  reads: number;
  request: MockRequest;
}

let asked = 0;

function payload(model: string, { text = TEXT, stream = true, extra = {} }: AskOptions): string {
  const messages = [{ role: "system", content: "no" }, { role: "user", content: text }];
  return JSON.stringify({ model, stream, messages, ...extra });
}

/** Sends one request by hand and reads to the end, whatever that is. */
async function ask(model: string, options: AskOptions = {}): Promise<Answer> {
  const body = payload(model, options);
  const mark = `ask-${++asked}`;
  const started = performance.now();
  const pieces: Buffer[] = [];
  let size = 0;
  const end = await new Promise<Answer["end"]>((resolve) => {
    const socket = connect({ port: mock.port, host: "127.0.0.1", noDelay: true });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const finish = (how: Answer["end"]) => {
      clearTimeout(timer);
      resolve(how);
      socket.destroy();
    };
    const arm = () => {
      clearTimeout(timer);
      timer = setTimeout(() => finish("left"), options.silenceMs ?? 2000);
    };
    socket.on("connect", () => {
      arm();
      socket.write(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:${mock.port}\r\nx-ask: ${mark}\r\n` +
          `${options.headers ?? ""}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
    });
    socket.on("data", (bytes: Buffer) => {
      arm();
      pieces.push(bytes);
      if ((size += bytes.length) > (options.maxBytes ?? Infinity)) finish("left");
    });
    socket.on("error", () => finish("rst"));
    socket.on("end", () => finish("fin"));
    socket.on("close", () => finish("fin"));
  });
  const request = mock.requests.find(({ headers }) => headers["x-ask"] === mark);
  assert.ok(request);
  const ms = performance.now() - started;
  return { ...parse(Buffer.concat(pieces)), end, ms, reads: pieces.length, request };
}

function parse(bytes: Buffer): Pick<Answer, "raw" | "head" | "body" | "whole"> {
  const raw = bytes.toString("latin1");
  const cut = raw.indexOf("\r\n\r\n");
  const head = cut < 0 ? raw : raw.slice(0, cut);
  const rest = cut < 0 ? "" : raw.slice(cut + 4);
  if (!head.includes("transfer-encoding: chunked")) {
    return { raw, head, body: utf8(rest), whole: false };
  }
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    const line = rest.indexOf("\r\n", at);
    const length = Number.parseInt(rest.slice(at, line), 16);
    if (line < 0 || !(length > 0)) {
      return { raw, head, body: utf8(parts.join("")), whole: length === 0 };
    }
    parts.push(rest.slice(line + 2, line + 2 + length));
    at = line + 2 + length + 2;
  }
}

function utf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}

/** The data of each event, as the standard reads it; an event that is not terminated is none. */
function events(body: string): string[] {
  const lines = body.replace(/^\ufeff/, "").split(/\r\n|\r|\n/);
  const found: string[] = [];
  let data: string[] = [];
  for (const line of lines.slice(0, -1)) {
    if (line === "") {
      if (data.some((part) => part !== "")) found.push(data.join("\n"));
      data = [];
    } else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return found;
}

/** The text of all content deltas; what is no chunk is skipped. */
function content(body: string): string {
  return events(body).map((data) => {
    try {
      return JSON.parse(data)?.choices?.[0]?.delta?.content ?? "";
    } catch {
      return "";
    }
  }).join("");
}

async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 4000 && !condition(); turn++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(condition());
}

function isGood({ body, end, whole, request }: Answer): void {
  assert.equal(content(body), TEXT);
  assert.equal(events(body).at(-1), "[DONE]");
  assert.equal(JSON.parse(events(body).at(-2) ?? "").choices[0].finish_reason, "stop");
  assert.deepEqual([end, whole, request.state], ["fin", true, "answered"]);
}

/** Half of the text or more, but not all, and then the end that is named. */
function isHalf(answer: Answer, end: Answer["end"]): void {
  const text = content(answer.body);
  assert.ok(text.length > TEXT.length / 3 && text.length < TEXT.length && TEXT.startsWith(text));
  assert.ok(!answer.body.includes("[DONE]"));
  assert.deepEqual([answer.end, answer.whole], [end, false]);
  assert.equal(answer.request.state, end === "left" ? "left" : "cut");
}

/** A status with JSON that carries the mark. */
function isStatus(status: number): (answer: Answer) => void {
  return ({ head, body, end, request }) => {
    assert.ok(head.startsWith(`HTTP/1.1 ${status} `), head);
    assert.ok(body.includes(SECRET));
    assert.deepEqual([end, request.state], ["fin", "answered"]);
  };
}

/** Goes on and on until the client leaves, and ends well where `bytes` says so. */
function isEndless(fault: string): [AskOptions, (answer: Answer) => Promise<void>] {
  return [{ maxBytes: 1 << 18 }, async (answer) => {
    assert.equal(answer.end, "left");
    await until(() => answer.request.state === "left");
    const bounded = await ask(`mock:${fault}?bytes=100000`);
    assert.ok(bounded.raw.length > 100000 && bounded.raw.length < 200000);
    assert.equal(bounded.request.state, "answered");
    assert.equal(events(bounded.body).at(-1), "[DONE]");
    if (fault !== "endless" && fault !== "big-line") assert.equal(content(bounded.body), TEXT);
  }];
}

const left: AskOptions = { silenceMs: 40 };

function isError(inside: string): (answer: Answer) => void {
  return (answer) => {
    const text = content(answer.body);
    assert.ok(text.length > 0 && text.length < TEXT.length && TEXT.startsWith(text));
    assert.ok(answer.body.includes(inside) && answer.body.includes(SECRET));
    assert.equal(events(answer.body).at(-1), "[DONE]");
    assert.equal(answer.request.state, "answered");
  };
}

type Check = (answer: Answer) => void | Promise<void>;

const checks: Record<string, Check | [AskOptions, Check]> = {
  "plain": isGood,
  "reasoning": (answer) => {
    isGood(answer);
    const thoughts = events(answer.body).slice(0, -1).map((data) => {
      return JSON.parse(data).choices[0].delta.reasoning_content ?? "";
    });
    assert.equal(thoughts.join(""), `The user says: ${TEXT}`);
  },
  "tools": ({ body }) => {
    const chunks = events(body).slice(0, -1).map((data) => JSON.parse(data).choices[0]);
    const calls: Array<{ id: string; arguments: string }> = [];
    for (const { delta } of chunks) {
      for (const { index, id, function: part } of delta.tool_calls ?? []) {
        const call = calls[index] ??= { id, arguments: "" };
        call.arguments += part.arguments;
      }
    }
    assert.deepEqual(calls.map(({ id }) => id), ["call_mock_0", "call_mock_1"]);
    assert.deepEqual(JSON.parse(calls[0]?.arguments ?? ""), { query: TEXT });
    assert.equal(chunks.at(-1).finish_reason, "tool_calls");
  },
  "length": ({ body }) => {
    assert.equal(content(body), TEXT);
    assert.equal(JSON.parse(events(body).at(-2) ?? "").choices[0].finish_reason, "length");
  },
  "comments": (answer) => {
    isGood(answer);
    assert.ok(answer.body.includes(": OPENROUTER PROCESSING\n\n:\ndata:"));
  },
  "crlf": (answer) => {
    isGood(answer);
    assert.doesNotMatch(answer.body, /(?<!\r)\n/);
  },
  "crlf-split": (answer) => {
    isGood(answer);
    assert.match(answer.raw, /\r\r\n[0-9a-f]+\r\n\n/);
  },
  "cr": (answer) => {
    isGood(answer);
    assert.ok(!answer.body.includes("\n"));
  },
  "bom": (answer) => {
    isGood(answer);
    assert.ok(answer.body.startsWith("\ufeffdata:"));
  },
  "no-space": (answer) => {
    isGood(answer);
    assert.ok(!answer.body.includes("data: "));
  },
  "many-lines": (answer) => {
    isGood(answer);
    assert.ok(answer.body.includes('{"id":\ndata: "'));
  },
  "fields": (answer) => {
    isGood(answer);
    assert.ok(answer.body.includes("nocolon\ndata: [DONE]"));
  },
  "empty-events": (answer) => {
    isGood(answer);
    assert.ok(answer.body.includes("\n\ndata:\n\nevent: ping\n\n"));
  },
  "empty-choices": (answer) => {
    isGood(answer);
    assert.ok(answer.body.includes('"choices":[],"prompt_filter_results"'));
  },
  "bytes": (answer) => {
    isGood(answer);
    assert.ok(answer.raw.includes("\r\n1\r\nd\r\n1\r\na\r\n1\r\nt\r\n"));
    assert.ok(answer.reads > 2000, `${answer.reads} reads`);
  },
  "slow": [{ text: "slow" }, ({ body, ms }) => {
    assert.equal(content(body), "slow");
    assert.ok(ms > 190, `${ms} ms`);
  }],
  "gzip": async ({ head }) => {
    assert.match(head, /content-encoding: gzip/);
    const response = await post("mock:gzip");
    assert.equal(content(await response.text()), TEXT);
  },
  "no-type": (answer) => {
    isGood(answer);
    assert.doesNotMatch(answer.head, /content-type/);
  },
  "die-head": ({ raw, end, request }) => {
    assert.ok(raw.endsWith("content-type: text/ev"));
    assert.deepEqual([end, request.state], ["fin", "cut"]);
  },
  "die-before-first": ({ head, body, end, whole }) => {
    assert.match(head, /^HTTP\/1.1 200 /);
    assert.deepEqual([body, end, whole], ["", "fin", false]);
  },
  "die-fin": (answer) => {
    isHalf(answer, "fin");
    assert.ok(!answer.body.endsWith("\n"));
  },
  "die-rst": (answer) => {
    isHalf(answer, "rst");
    assert.ok(!answer.body.endsWith("\n"));
  },
  "die-between": (answer) => {
    isHalf(answer, "fin");
    assert.ok(answer.body.endsWith("}\n\n"));
  },
  "rst-at-once": ({ raw, end }) => assert.deepEqual([raw, end], ["", "rst"]),
  "hang-head": [left, async ({ raw, end, request }) => {
    assert.deepEqual([raw, end], ["", "left"]);
    await until(() => request.state === "left");
    assert.ok(Date.now() - (request.closedByClientAt ?? 0) < 10_000);
  }],
  "hang-body": [left, ({ head, body, end }) => {
    assert.match(head, /^HTTP\/1.1 200 /);
    assert.deepEqual([body, end], ["", "left"]);
  }],
  "hang-first": [left, ({ body, end }) => {
    assert.equal(JSON.parse(events(body)[0] ?? "").choices[0].delta.role, "assistant");
    assert.deepEqual([events(body).length, end], [1, "left"]);
  }],
  "hang-middle": [left, async (answer) => {
    await until(() => answer.request.state === "left");
    isHalf(answer, "left");
  }],
  "short-length": ({ head, body, end, request }) => {
    const promised = Number(/content-length: (\d+)/.exec(head)?.[1]);
    const got = Buffer.byteLength(body);
    assert.ok(got > 0 && got < promised * 0.8, `${got} of ${promised}`);
    assert.deepEqual([end, request.state], ["fin", "cut"]);
  },
  "bad-chunk": ({ raw, body, whole }) => {
    assert.ok(raw.includes("zz; no length\r\n"));
    assert.ok(content(body).length < TEXT.length && !whole);
  },
  "no-done": ({ body, whole }) => {
    assert.equal(content(body), TEXT);
    assert.ok(body.includes('"finish_reason":"stop"') && !body.includes("[DONE]") && whole);
  },
  "no-finish": ({ body, whole }) => {
    assert.equal(content(body), TEXT);
    assert.ok(!body.includes('"finish_reason":"stop"') && body.endsWith("[DONE]\n\n") && whole);
  },
  "no-end": ({ body, whole, request }) => {
    const text = content(body);
    assert.ok(text.length > 0 && text.length < TEXT.length && TEXT.startsWith(text));
    assert.ok(!body.includes('"stop"') && !body.includes("[DONE]") && whole);
    assert.equal(request.state, "answered");
  },
  "after-done": ({ body }) => {
    assert.equal(content(body), TEXT + SECRET);
    assert.equal(events(body).at(-2), "[DONE]");
  },
  "done-silence": [left, async ({ body, end, whole, request }) => {
    assert.equal(content(body), TEXT);
    assert.equal(events(body).at(-1), "[DONE]");
    await until(() => request.state === "left");
    assert.deepEqual([end, whole], ["left", false]);
  }],
  "garbage-http": ({ raw, end }) => {
    assert.ok(!raw.startsWith("HTTP") && raw.endsWith(SECRET));
    assert.equal(end, "fin");
  },
  "garbage-body": ({ head, body, whole }) => {
    assert.match(head, /^HTTP\/1.1 200 .*text\/event-stream/s);
    assert.ok(body.includes("\ufffd") && whole);
    assert.deepEqual(events(body), []);
  },
  "bad-json": ({ body }) => {
    assert.equal(content(body), TEXT);
    assert.ok(events(body).some((data) => data === `{"choices": ${SECRET}`));
  },
  "wrong-json": ({ body }) => {
    assert.equal(content(body), TEXT);
    assert.ok(events(body).includes("null"));
  },
  "bad-utf8": ({ body, raw }) => {
    assert.ok(raw.includes("\xff\xc3("));
    assert.ok(content(body).includes("\ufffd"));
    assert.equal(content(body).replace(/\ufffd+\(\ufffd+/, ""), TEXT);
  },
  "big-line": isEndless("big-line"),
  "big-event": isEndless("big-event"),
  "big-comment": isEndless("big-comment"),
  "big-field": isEndless("big-field"),
  "big-id": isEndless("big-id"),
  "endless-comments": isEndless("endless-comments"),
  "endless": isEndless("endless"),
  "huge-503": [{ maxBytes: 1 << 18 }, async ({ head, end, request }) => {
    assert.match(head, /^HTTP\/1.1 503 /);
    assert.equal(end, "left");
    await until(() => request.state === "left");
  }],
  "big-head": [{ maxBytes: 1 << 18 }, async ({ raw, end, request }) => {
    assert.ok(!raw.includes("\r\n\r\n"));
    assert.equal(end, "left");
    await until(() => request.state === "left");
  }],
  "gzip-bomb": [{ maxBytes: 100_000 }, async ({ request }) => {
    await until(() => request.state === "left");
    // More than the buffers of a connection hold: its reset would take what is in them away.
    const response = await post(`mock:gzip-bomb?bytes=${64 * 1024 ** 2}`);
    let size = 0;
    for await (const bytes of response.body ?? []) if ((size += bytes.length) > 1 << 22) break;
    assert.ok(size > 1 << 22, `${size} bytes`);
  }],
  "error-object": isError('data: {"error":{'),
  "error-chunk": isError('"provider":"Mock","error":{'),
  "error-event": isError("event: error\ndata: {"),
  "error-flat": isError('data: {"object":"error","message":'),
  "400": isStatus(400),
  "401": [{ headers: "authorization: Bearer sk-test\r\n" }, (answer) => {
    isStatus(401)(answer);
    assert.ok(answer.body.includes("Bearer sk-test"));
  }],
  "403": isStatus(403),
  "404": isStatus(404),
  "429": (answer) => {
    isStatus(429)(answer);
    assert.match(answer.head, /retry-after: 1/);
  },
  "500": isStatus(500),
  "503": isStatus(503),
  "500-sse": (answer) => {
    isStatus(500)(answer);
    assert.match(answer.head, /text\/event-stream/);
  },
  "hang-500": [left, ({ head, end }) => {
    assert.match(head, /^HTTP\/1.1 500 /);
    assert.equal(end, "left");
  }],
  "html": (answer) => {
    isStatus(200)(answer);
    assert.match(answer.head, /text\/html/);
  },
  "json": (answer) => {
    isStatus(200)(answer);
    assert.equal(JSON.parse(answer.body).error.message, SECRET);
  },
  "json-whole": ({ head, body }) => {
    assert.match(head, /application\/json/);
    assert.equal(JSON.parse(body).choices[0].message.content, TEXT);
  },
  "204": ({ head, body }) => {
    assert.match(head, /^HTTP\/1.1 204 /);
    assert.doesNotMatch(head, /content-length|transfer-encoding/);
    assert.equal(body, "");
  },
  "redirect-loop": async ({ head }) => {
    assert.match(head, new RegExp(`^HTTP/1.1 307 .*location: ${mock.url}/chat/`, "s"));
    const count = mock.requests.length;
    await assert.rejects(post("mock:redirect-loop"));
    assert.ok(mock.requests.length > count + 5);
  },
  "redirect-other": async ({ head }) => {
    assert.match(head, new RegExp(`location: ${mock.other.url}/chat/`));
    assert.equal(mock.other.requests.length, 0);
    const response = await post("mock:redirect-other?status=302", { authorization: "Bearer sk" });
    assert.equal(response.status, 200);
    await response.body?.cancel();
    const [request] = mock.other.requests;
    assert.equal(request?.method, "GET");
    assert.equal(request?.headers["authorization"], undefined);
  },
  "fail-then-ok": async (answer) => {
    isStatus(503)(answer);
    isGood(await ask("mock:fail-then-ok"));
    assert.equal((await ask("mock:fail-then-ok?n=2&how=rst")).end, "rst");
    assert.equal((await ask("mock:fail-then-ok?n=2&how=rst")).end, "rst");
    isGood(await ask("mock:fail-then-ok?n=2&how=rst"));
    isStatus(429)(await ask("mock:fail-then-ok?how=429&retryAfter=7&key=x"));
  },
};

function post(model: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${mock.url}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: payload(model, {}),
  });
}

test("every fault has a check", () => {
  assert.deepEqual(Object.keys(checks).toSorted(), Object.keys(faults).toSorted());
});

for (const [fault, row] of Object.entries(checks)) {
  const [options, check] = Array.isArray(row) ? row : [{}, row];
  test(`mock:${fault}: ${faults[fault]}`, async () => {
    await check(await ask(`mock:${fault}`, options));
  });
}

test("startMock() echoes 100 KB exactly, also with split surrogates, by fetch", async () => {
  const text = "日本語👩‍👩‍👧 \r\n".repeat(3500);
  assert.ok(Buffer.byteLength(text) > 100_000);
  for (const model of ["mock", "mock?split=surrogates"]) {
    const response = await fetch(`${mock.url}/chat/completions`, {
      method: "POST",
      body: payload(model, { text }),
    });
    assert.equal(content(await response.text()), text);
  }
  const halves = await ask("mock?split=surrogates", { text: "👍" });
  assert.ok(halves.body.includes('"content":"\\ud83d"') && content(halves.body) === "👍");
});

test("startMock() cuts tokens of 1 to 5 units, never a pair, and always alike", async () => {
  const tokens = async () => {
    return events((await ask("mock")).body).slice(1, -2).map((data) => {
      return JSON.parse(data).choices[0].delta.content as string;
    });
  };
  const first = await tokens();
  assert.deepEqual(first, await tokens());
  assert.ok(first.every((token) => token.length >= 1 && token.length <= 5 && token.isWellFormed()));
  assert.ok(new Set(first.map((token) => token.length)).size >= 4);
});

test("startMock() sends usage when asked, null before it", async () => {
  const { body } = await ask("mock?tokens=7", {
    extra: { stream_options: { include_usage: true } },
  });
  const chunks = events(body).slice(0, -1).map((data) => JSON.parse(data));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, 7);
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  assert.equal(chunks.length, 1 + 7 + 1 + 1);
});

test("startMock() answers whole without stream, and lists its models", async () => {
  const whole = await ask("mock:length", { stream: false });
  const { choices: [choice], object } = JSON.parse(whole.body);
  assert.deepEqual([choice.message.content, choice.finish_reason, object], [
    TEXT,
    "length",
    "chat.completion",
  ]);
  const tools = JSON.parse((await ask("mock:tools", { stream: false })).body).choices[0];
  assert.equal(tools.message.tool_calls[0].function.name, "lookup");
  const models = await (await fetch(`${mock.url}/models`)).json();
  assert.ok(models.data.some(({ id }: { id: string }) => id === "mock:die-rst"));
  assert.ok((await ask("mock:nonsense")).head.startsWith("HTTP/1.1 400 "));
  assert.ok((await ask("mock?nonsense=1")).head.startsWith("HTTP/1.1 400 "));
});

test("startMock() notices a fetch that leaves, and counts what is open back to zero", async () => {
  const before = mock.requests.length;
  const response = await post("mock:hang-middle");
  const reader = response.body?.getReader();
  await reader?.read();
  const request = mock.requests[before];
  assert.equal(request?.state, "open");
  const at = Date.now();
  await reader?.cancel();
  await until(() => request?.state === "left");
  assert.ok((request?.closedByClientAt ?? Infinity) - at < 5000);
  await until(() => mock.open === 0);
});

test("mock:endless stops writing while nobody reads, and goes on when somebody does", async () => {
  const body = payload("mock:endless", {});
  const socket = connect(mock.port, "127.0.0.1");
  socket.pause();
  const count = mock.requests.length;
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\ncontent-length: ${
      Buffer.byteLength(body)
    }\r\n\r\n${body}`,
  );
  await until(() => mock.requests[count]?.paused === true);
  const request = mock.requests[count] as MockRequest;
  await new Promise((resolve) => setTimeout(resolve, 60));
  const stalled = request.bytesWritten;
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.ok(request.bytesWritten - stalled < 256 * 1024 && stalled < 24 * 1024 ** 2);
  socket.on("data", () => {});
  socket.resume();
  await until(() => request.bytesWritten > stalled + 1024 ** 2);
  socket.destroy();
  await until(() => request.state === "left");
});

test("keepAlive=1 serves the next request on the same connection", async () => {
  const count = mock.requests.length;
  const models = ["mock?keepAlive=1", "mock:400?keepAlive=1", "mock:204?keepAlive=1", "mock"];
  const socket = connect(mock.port, "127.0.0.1");
  const text = await new Promise<string>((resolve) => {
    let all = "";
    socket.on("data", (bytes: Buffer) => all += bytes.toString("latin1"));
    socket.on("end", () => resolve(all));
    for (const model of models) {
      const body = payload(model, { text: "x" });
      socket.write(`POST /v1/chat/completions HTTP/1.1\r\ncontent-length: ${body.length}\r\n\r\n`);
      socket.write(body);
    }
  });
  socket.destroy();
  assert.deepEqual([...text.matchAll(/HTTP\/1.1 (\d+)/g)].map(([, status]) => status), [
    "200",
    "400",
    "204",
    "200",
  ]);
  const numbers = mock.requests.slice(count).map(({ connection }) => connection);
  assert.deepEqual([numbers.length, new Set(numbers).size], [4, 1]);
});

test("framing=close ends the body by FIN, so that a cut between events looks clean", async () => {
  const answer = await ask("mock:no-end?framing=close");
  assert.doesNotMatch(answer.head, /transfer-encoding/);
  assert.ok(TEXT.startsWith(content(answer.body)) && answer.end === "fin");
  assert.equal(content((await ask("mock?framing=close")).body), TEXT);
});

test("mock:bytes sends thousands of bytes in a second, on an idle machine 15 of 20 KB", async () => {
  const text = "x".repeat(300);
  const { body, ms } = await ask("mock:bytes", { text });
  assert.equal(content(body), text);
  // Far below what it does, and far above what a timer per byte would do on Deno.
  assert.ok(body.length / ms > 0.6, `${body.length} bytes in ${ms} ms`);
});

test("delays: headMs, firstMs and delayMs add up", async () => {
  const { ms, body } = await ask("mock?headMs=40&firstMs=40&delayMs=10&tokens=4", { text: "hi" });
  assert.equal(content(body), "hihi");
  assert.ok(ms > 110 && ms < 2000, `${ms} ms`);
});
