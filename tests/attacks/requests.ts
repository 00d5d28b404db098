/**
 * Hostile and odd requests, as data. No two differ in a value only. The handler's status is one number;
 * where a runtime's own parser or limit decides, each runtime has its own.
 */
import type { Runtime } from "./support/victim.ts";

/** A status, or several where a runtime's own clocks decide; 0 is a connection that is closed without one. */
export type Status = number | readonly number[];
/** The status of a request; for each runtime, where the runtime's own parser decides. */
export type Want = Status | Readonly<Record<Runtime, Status>>;

/** One request. */
export interface Attack {
  readonly name: string;
  /** The bytes, a character each. */
  readonly bytes: string;
  readonly want: Want;
  /** Sent after a pause each. */
  readonly rest?: readonly string[];
  /** Whether the client half-closes when it has sent all. */
  readonly end?: true;
  /** Whether a stream is the right response: the control group. */
  readonly streams?: true;
}

const KEY = "Authorization: Bearer key-of-one";
const JSON_TYPE = "Content-Type: application/json";
const HOST = "Host: 127.0.0.1";
const QUERY = '{"query":"a b c"}';

interface Parts {
  readonly method?: string;
  readonly target?: string;
  readonly version?: string;
  /** In place of `Host: 127.0.0.1`; `null` is none. */
  readonly host?: string | null;
  readonly key?: string | null;
  readonly headers?: readonly string[];
  readonly type?: string | null;
  readonly body?: string;
  /** In place of the right length; `null` is none. */
  readonly length?: string | null;
}

/** A request of parts, good where nothing else is said. */
function request(parts: Parts = {}): string {
  const { method = "GET", target = "/health", version = "HTTP/1.1", body } = parts;
  const { host = HOST, key = KEY, headers = [], type = JSON_TYPE } = parts;
  const length = parts.length === undefined && body !== undefined
    ? `Content-Length: ${body.length}`
    : parts.length ?? null;
  const lines = [
    `${method} ${target} ${version}`,
    ...host === null ? [] : [host],
    "Connection: close",
    ...key === null ? [] : [key],
    ...body === undefined || type === null ? [] : [type],
    ...length === null ? [] : [length],
    ...headers,
  ];
  return `${lines.join("\r\n")}\r\n\r\n${body ?? ""}`;
}

/** A request that would start a stream, if its parts were good. */
function post(parts: Parts = {}): string {
  return request({ method: "POST", target: "/streaming", body: QUERY, ...parts });
}

type Rest = Partial<Pick<Attack, "rest" | "end" | "streams">>;
const attacks: Attack[] = [];
let group = "";

function add(name: string, bytes: string, want: Want, rest: Rest = {}): void {
  attacks.push({ name: `${group}: ${name}`, bytes, want, ...rest });
}

// ---------------------------------------------------------------------------------------------
group = "control";
add("a stream", post(), 200, { streams: true });
add("health", request(), 200);
add("HTTP/1.0", request({ version: "HTTP/1.0" }), 200);
add(
  "a chunked body",
  post({ length: "Transfer-Encoding: chunked", body: `11\r\n${QUERY}\r\n0\r\n\r\n` }),
  200,
  { streams: true },
);
add(
  "two requests behind each other",
  `${request().replace("Connection: close\r\n", "")}${request()}`,
  200,
);

// ---------------------------------------------------------------------------------------------
group = "method and route";
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
/** The statuses of the methods that a route has; of the others 405. */
const ROUTES: Readonly<Record<string, Partial<Record<string, number>>>> = {
  "/streaming": { GET: 400, HEAD: 400, POST: 400 },
  "/streaming/AAAAAAAAAAAAAAAAAAAAAA": { GET: 404, HEAD: 404, DELETE: 404 },
  "/v1/chat/completions": { POST: 400 },
  "/v1/models": { GET: 200, HEAD: 200 },
  "/v1/models/spillway": { GET: 200, HEAD: 200 },
  "/v1/responses": { POST: 400 },
  "/v1/responses/resp_AAAAAAAAAAAAAAAAAAAAAA": { GET: 404, HEAD: 404, DELETE: 404 },
  "/v1/responses/resp_AAAAAAAAAAAAAAAAAAAAAA/cancel": { POST: 404 },
  "/v1/messages": { POST: 400 },
  "/v1/messages/count_tokens": { POST: 400 },
  "/api/chat": { POST: 400 },
  "/api/chat/a/stream": { GET: 204, HEAD: 204 },
  "/ag-ui": { GET: 400, HEAD: 400, POST: 400 },
  "/metrics": { GET: 200, HEAD: 200 },
  "/health": { GET: 200, HEAD: 200 },
  "/openapi.json": { GET: 200, HEAD: 200 },
  "/": { GET: 200, HEAD: 200, POST: 400 },
  "/docs": { GET: 200, HEAD: 200 },
  "/nowhere": {},
};
for (const [target, statuses] of Object.entries(ROUTES)) {
  const other = target === "/nowhere" ? 404 : 405;
  for (const method of METHODS) {
    const status = statuses[method] ?? (method === "OPTIONS" && other === 405 ? 204 : other);
    // Node's Request forbids the one; its parser, and Bun's, do not know the other.
    const want = method === "TRACE"
      ? { bun: status, deno: status, node: 400 }
      : method === "BREW"
      ? { bun: 0, deno: status, node: 400 }
      : status;
    add(`${method} ${target}`, request({ method, target, body: "" }), want);
  }
}

// ---------------------------------------------------------------------------------------------
group = "request line";
const line = (text: string) => `${text}\r\n${HOST}\r\nConnection: close\r\n\r\n`;
add("empty lines before it", `\r\n\r\n${request()}`, { bun: 400, deno: 200, node: 200 });
add("no version", line("GET /health"), { bun: 505, deno: 400, node: 200 });
add("HTTP/0.9", "GET /health\r\n", { bun: 505, deno: 400, node: 400 }, { end: true });
add("HTTP/1.2", line("GET /health HTTP/1.2"), { bun: 505, deno: 400, node: 400 });
add("HTTP/2.0", line("GET /health HTTP/2.0"), { bun: 505, deno: 400, node: 200 });
add("HTTP/9", line("GET /health HTTP/9"), { bun: 505, deno: 400, node: 400 });
add("a version in small letters", line("GET /health http/1.1"), { bun: 505, deno: 400, node: 400 });
add("another protocol", line("GET /health RTSP/1.0"), { bun: 505, deno: 400, node: 200 });
add("a method in small letters", line("get /health HTTP/1.1"), { bun: 0, deno: 405, node: 400 });
add("no method", line(" /health HTTP/1.1"), 400);
add("a method with a NUL", line("G\0T /health HTTP/1.1"), { bun: 505, deno: 400, node: 400 });
add("a method with a colon", line("GE:T /health HTTP/1.1"), 400);
add("a method of 10,000 letters", line(`${"M".repeat(10_000)} /health HTTP/1.1`), {
  bun: 0,
  deno: 405,
  node: 400,
});
add("two spaces before the target", line("GET  /health HTTP/1.1"), {
  bun: 400,
  deno: 400,
  node: 200,
});
add("two spaces before the version", line("GET /health  HTTP/1.1"), {
  bun: 505,
  deno: 400,
  node: 200,
});
add("tabs in place of spaces", line("GET\t/health\tHTTP/1.1"), { bun: 505, deno: 400, node: 400 });
add("words behind the version", line("GET /health HTTP/1.1 more"), {
  bun: 505,
  deno: 400,
  node: 400,
});
add("lines that end in LF", request().replaceAll("\r\n", "\n"), { bun: 505, deno: 200, node: 400 });
add(
  "lines that end in CR",
  request().replaceAll("\r\n", "\r"),
  { bun: 505, deno: 400, node: 400 },
  { end: true },
);
add(
  "a space before the first header",
  request({ headers: [] }).replace("\r\nHost", "\r\n Host"),
  400,
);
add("CONNECT", `CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\nConnection: close\r\n\r\n`, {
  bun: 400,
  deno: 405,
  node: 0,
});
add(
  "the beginning of HTTP/2",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  { bun: 400, deno: 0, node: 400 },
  { end: true },
);
add("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, { end: true });
add("a SOCKS hello", "\x05\x01\x00", 400, { end: true });
add("NUL bytes alone", "\0".repeat(1000), 400, { end: true });
add(
  "random bytes",
  Array.from({ length: 500 }, (_, i) => String.fromCharCode(i * 167 % 256)).join(""),
  400,
  { end: true },
);
add("a line that never ends", `GET /${"a".repeat(100_000)}`, { bun: 431, deno: 400, node: 431 }, {
  end: true,
});
add("half a head", `GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n`, { bun: 0, deno: 0, node: 400 }, {
  end: true,
});
add("nothing", "", 0, { end: true });

// ---------------------------------------------------------------------------------------------
group = "host";
const hosted = (host: string | null, parts: Parts = {}) => post({ host, ...parts });
add("none", hosted(null), { bun: 400, deno: 421, node: 400 });
add("none in HTTP/1.0", request({ host: null, version: "HTTP/1.0" }), {
  bun: 400,
  deno: 421,
  node: 421,
});
add("empty", hosted("Host:"), 400);
add("another", hosted("Host: evil.example"), 421);
add("another that begins as ours", hosted("Host: 127.0.0.1.evil.example"), 421);
add("another that ends as ours", hosted("Host: evil-127.0.0.1"), 400);
add("ours with a dot", hosted("Host: 127.0.0.1."), 200, { streams: true });
add("ours as one number", hosted("Host: 2130706433"), 200, { streams: true });
add("ours in hexadecimal", hosted("Host: 0x7f.1"), 200, { streams: true });
add("a port", hosted("Host: 127.0.0.1:1"), 200, { streams: true });
add("an empty port", hosted("Host: 127.0.0.1:"), 200, { streams: true });
add("a port past 65,535", hosted("Host: 127.0.0.1:99999"), 400);
add("a port of letters", hosted("Host: 127.0.0.1:http"), 400);
add("a negative port", hosted("Host: 127.0.0.1:-1"), 400);
add("a login", hosted("Host: user:password@127.0.0.1"), 400);
add("a path", hosted("Host: 127.0.0.1/health"), 400);
add("a query", hosted("Host: 127.0.0.1?a"), 400);
add("a fragment", hosted("Host: 127.0.0.1#a"), 400);
add("a backslash", hosted("Host: 127.0.0.1\\a"), 400);
add("a space inside", hosted("Host: 127.0.0.1 evil.example"), 400);
add("spaces around", hosted("Host:   127.0.0.1   "), 200, { streams: true });
add("a percent sign", hosted("Host: 127.0.0.1%00"), 400);
add("a percent sign that is a letter", hosted("Host: %6cocalhost"), 421);
add("an open bracket", hosted("Host: [::1"), 400);
add("an IPv6 address", hosted("Host: [::1]"), 421);
add("an IPv6 address with a zone", hosted("Host: [fe80::1%25eth0]"), 400);
add("letters of another script", hosted("Host: \xc3\xa9.example"), 400);
add("a control character", hosted("Host: a\x01b"), 400);
add("of 60,000 letters", hosted(`Host: ${"a".repeat(60_000)}`), { bun: 431, deno: 421, node: 431 });
add("twice, alike", hosted(`${HOST}\r\n${HOST}`), { bun: 400, deno: 400, node: 200 }, {
  streams: true,
});
add("twice, ours first", hosted(`${HOST}\r\nHost: evil.example`), {
  bun: 400,
  deno: 400,
  node: 200,
}, { streams: true });
add("twice, ours last", hosted(`Host: evil.example\r\n${HOST}`), {
  bun: 400,
  deno: 400,
  node: 421,
});
add("two in one line", hosted("Host: 127.0.0.1, evil.example"), 400);
add("folded over two lines", hosted("Host: 127.0.0.1\r\n .evil.example"), 400);
add("a scheme", hosted("Host: http://127.0.0.1"), 400);

// ---------------------------------------------------------------------------------------------
group = "target";
const at = (target: string, parts: Parts = {}) => request({ target, ...parts });
add("in absolute form", at("http://127.0.0.1/health"), 200);
add("in absolute form, another host", at("http://evil.example/health"), {
  bun: 200,
  deno: 421,
  node: 421,
});
add(
  "in absolute form, another host in both",
  at("http://evil.example/health", { host: "Host: evil.example" }),
  421,
);
add(
  "in absolute form, ours, another Host",
  at("http://127.0.0.1/health", { host: "Host: evil.example" }),
  { bun: 421, deno: 200, node: 200 },
);
add("in absolute form with a login", at("http://user:password@127.0.0.1/health"), {
  bun: 200,
  deno: 200,
  node: 400,
});
add("in absolute form with a port past 65,535", at("http://127.0.0.1:99999/health"), {
  bun: 200,
  deno: 400,
  node: 400,
});
add("in absolute form with an open bracket", at("http://[::1/health"), {
  bun: 200,
  deno: 400,
  node: 400,
});
add("in absolute form without a path", at("http://127.0.0.1"), 200);
add("in absolute form with another scheme", at("ftp://127.0.0.1/health"), {
  bun: 400,
  deno: 200,
  node: 400,
});
add("in absolute form without a host", at("http:///health"), { bun: 200, deno: 404, node: 421 });
add("of a file", at("file:///etc/passwd"), { bun: 400, deno: 404, node: 400 });
add("with a scheme of JavaScript", at("javascript:alert(1)"), 400);
add("of data", at("data:,a"), 400);
add("a star", at("*", { method: "OPTIONS" }), { bun: 400, deno: 404, node: 400 });
add("a star for GET", at("*"), 400);
add("a host and a port", at("127.0.0.1:80"), 400);
add("without a slash", at("health"), 400);
add("empty", "GET  HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 400);
add("a query alone", at("?a=b"), 400);
add("two slashes first", at("//evil.example/health"), 404);
add("doubled slashes", at("//v1///models//"), 200);
add("slashes alone", at("/".repeat(5000)), 200);
add("a backslash", at("/\\health"), 200);
add("dots that leave the root", at("/../../health"), 200);
add("dots within", at("/v1/x/../models"), 200);
add("dots as percent signs", at("/v1/%2e%2e/health"), 200);
add("a slash as a percent sign", at("/v1%2fmodels"), 404);
add("a percent sign alone", at("/v1/models/%"), 400);
add("a percent sign and one digit", at("/v1/models/%4"), 400);
add("a percent sign and letters that are no digits", at("/v1/models/%zz"), 400);
add("a percent sign at the end of an id", at("/streaming/a%"), 400);
add("a percent sign in the path of no route", at("/x%"), 404);
add("a percent sign in a query", at("/health?%"), 200);
add("a NUL as a percent sign", at("/v1/models/%00"), 404);
add("invalid UTF-8 as percent signs", at("/v1/models/%ff%fe"), 400);
add("half a surrogate pair as percent signs", at("/v1/models/%ed%a0%80"), 400);
add("too long UTF-8 as percent signs", at("/v1/models/%c0%af"), 400);
add("percent signs twice", at("/v1/models/%2525"), 404);
add("a NUL", at("/health\0"), { bun: 505, deno: 400, node: 400 });
add("a control character", at("/hea\x01lth"), { bun: 505, deno: 400, node: 400 });
add("a DEL", at("/hea\x7flth"), { bun: 404, deno: 400, node: 400 });
add("bytes over 127", at("/\xe3\x83\x86"), { bun: 404, deno: 404, node: 400 });
add("bytes that are no UTF-8", at("/v1/models/\xff"), { bun: 404, deno: 400, node: 400 });
add("a fragment", at("/health#a"), 200);
add("a fragment with a query in it", at("/health#?format=ndjson"), 200);
add("a line break as percent signs", at("/v1/models/a%0d%0aSet-Cookie:x"), 404);
add("a query of 7,000 parameters", at(`/health?${"a&".repeat(3500)}`), 200);
add("of 64 KB", at(`/${"a".repeat(65_000)}`), { bun: 431, deno: 404, node: 431 });
add("of 1 MB", at(`/${"a".repeat(1_000_000)}`), { bun: 431, deno: 400, node: 431 });
add("of 4,000 segments", at(`/${"a/".repeat(4000)}`), 404);
add("braces of a template", at("/streaming/{id}"), 404);
add("the name of a member of every object", at("/constructor"), 404);
add("a parameter of the same name", at("/api/chat/__proto__/stream"), 204);
add("a model that is a member of every object", at("/v1/models/toString"), 404);
add("an id with a slash behind it", at("/streaming/a/b/c"), 404);
add("the path of another case", at("/HEALTH"), 404);
add("a semicolon", at("/health;a=b"), 404);

// ---------------------------------------------------------------------------------------------
group = "headers";
const headed = (...headers: string[]) => request({ headers });
add("a name without a colon", headed("nothing"), 400);
add("an empty name", headed(": a"), 400);
add("a name with a space", headed("a b: c"), 400);
add("a space before the colon", headed("a : c"), 400);
add("a name with a NUL", headed("a\0: c"), 400);
add("a name in another script", headed("\xc3\xa9: c"), 400);
add("a name of punctuation", headed("!#$%&'*+-.^_`|~: a"), 200);
add("a name of braces", headed("a{}: c"), 400);
add("a value with a NUL", headed("a: b\0c"), 400);
add("a value with a bare CR", headed("a: b\rc: d"), 400);
add("a value with a bare LF", headed("a: b\nc: d"), { bun: 400, deno: 200, node: 400 });
add("a value with bytes over 127", headed("a: \xff\xfe\x80"), 200);
add("a value with a control character", headed("a: \x01"), 400);
add("a value of tabs", headed("a:\t\t"), 200);
add("no value", headed("a:"), 200);
add("a value over two lines", headed("a: b\r\n c"), 400);
add("one of 15 KB", headed(`a: ${"b".repeat(15_000)}`), 200);
add("one of 100 KB", headed(`a: ${"b".repeat(100_000)}`), { bun: 431, deno: 400, node: 431 });
add("a name of 70,000 letters", headed(`${"a".repeat(70_000)}: b`), {
  bun: 431,
  deno: 400,
  node: 431,
});
add("150", headed(...Array.from({ length: 150 }, (_, i) => `a${i}: b`)), {
  bun: 200,
  deno: 400,
  node: 200,
});
add("1,000", headed(...Array.from({ length: 1000 }, (_, i) => `a${i}: b`)), {
  bun: 431,
  deno: 400,
  node: 431,
});
add("one name 1,000 times", headed(...Array(1000).fill("a: b")), {
  bun: 431,
  deno: 400,
  node: 431,
});
add("members of every object", headed("__proto__: a", "constructor: b"), 200);
add("a cookie of 10 KB", headed(`Cookie: ${"a=b; ".repeat(2000)}`), 200);
add(
  "an upgrade to a web socket",
  headed(
    "Upgrade: websocket",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version: 13",
  ),
  200,
);
add(
  "an upgrade to HTTP/2",
  headed("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
  200,
);
add("an expectation that is met", post({ headers: ["Expect: 100-continue"] }), 200, {
  streams: true,
});
add("an expectation that nobody knows", headed("Expect: the-unexpected"), {
  bun: 200,
  deno: 200,
  node: 417,
});
add("a range", headed("Range: bytes=0-1"), 200);
add("a condition", headed("If-None-Match: *"), 200);
add("another method in a header", post({ headers: ["X-HTTP-Method-Override: DELETE"] }), 200, {
  streams: true,
});
add(
  "what a proxy says of another host",
  headed("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"),
  200,
);
add("a date that is none", headed("Date: yesterday", "If-Modified-Since: never"), 200);

group = "accept";
const accepting = (accept: string) => post({ headers: [`Accept: ${accept}`] });
add("an image", accepting("image/png"), 406);
add("nothing but what is refused", accepting("text/event-stream;q=0, */*;q=0"), 406);
add("a weight over 1", accepting("text/plain;q=2"), 406);
add("a weight that is none", accepting("text/plain;q=x"), 406);
add("separators alone", accepting(",;,;,"), 406, { streams: true });
add("3,000 ranges", accepting("a/b,".repeat(3000)), 406);
add("twice", post({ headers: ["Accept: image/png", "Accept: text/event-stream"] }), 200, {
  streams: true,
});
add("a quoted parameter", accepting('text/event-stream;a="b,c"'), 200, { streams: true });
add("a format of the query that nobody knows", post({ target: "/streaming?format=xml" }), 400);
add(
  "a format that is a member of every object",
  post({ target: "/streaming?format=__proto__" }),
  400,
);
add("an empty format", post({ target: "/streaming?format=" }), 400);
add("two formats", post({ target: "/streaming?format=xml&format=json" }), 400);

// ---------------------------------------------------------------------------------------------
group = "names and tails";
const named = (...names: string[]) => post({ headers: names.map((name) => `X-Run-Id: ${name}`) });
const STREAM = "/streaming/AAAAAAAAAAAAAAAAAAAAAA";
add("an empty name", named(""), 400);
add("a name of 129 characters", named("a".repeat(129)), 400);
add("a name of 8,000 characters", named("a".repeat(8000)), 400);
add("two names", named("a", "b"), 400);
add("a name that is a path", named("../../etc/passwd"), 400);
add("a name with bytes over 127", named("\xc3\xa9"), 400);
add("a name that is a member of every object", named("__proto__"), 200, { streams: true });
add("a name for what is no event stream", accepting("text/plain\r\nX-Run-Id: a"), 400);
add("a name beside a position of no stream", named("a\r\nLast-Event-ID: x"), 400);
add("a name that nobody has", at("/streaming?runId=constructor"), 404);
add("a name with a NUL", at("/streaming?runId=%00"), 400);
add("a name of invalid UTF-8", at("/streaming?runId=%ff"), 400);
add("a name twice in a query", at("/streaming?runId=a&runId=/"), 404);
add("the key under which a store holds a name", at(`/streaming/run-${"0".repeat(64)}`), 404);
add("a tail of nothing", at(`${STREAM}?tail=`), 400);
add("a tail of no number", at(`${STREAM}?tail=NaN`), 400);
add("a tail below 1", at(`${STREAM}?tail=-1`), 400);
add("a tail past every number", at(`${STREAM}?tail=${"9".repeat(400)}`), 400);
add("a tail beside a position", at(`${STREAM}?tail=1`, { headers: ["Last-Event-ID: a.1"] }), 400);
add("a tail of a stream that nobody knows", at(`${STREAM}?tail=10000`), 404);

// ---------------------------------------------------------------------------------------------
group = "framing";
const framed = (headers: string[], body: string) => post({ length: null, headers, body });
const chunked = (body: string, ...more: string[]) =>
  framed(["Transfer-Encoding: chunked", ...more], body);
add("no length", framed([], QUERY), 400);
add("two lengths, alike", framed(["Content-Length: 17", "Content-Length: 17"], QUERY), {
  bun: 200,
  deno: 200,
  node: 400,
}, { streams: true });
add("two lengths that differ", framed(["Content-Length: 17", "Content-Length: 5"], QUERY), 400);
add("two lengths in one line", framed(["Content-Length: 17, 17"], QUERY), 400, { streams: true });
add("a negative length", framed(["Content-Length: -1"], QUERY), 400);
add("a length with a sign", framed(["Content-Length: +17"], QUERY), 400, { streams: true });
add("a length in hexadecimal", framed(["Content-Length: 0x11"], QUERY), 400);
add("a length with a fraction", framed(["Content-Length: 17.0"], QUERY), 400);
add("a length with an exponent", framed(["Content-Length: 1e1"], QUERY), 400);
add("an empty length", framed(["Content-Length:"], QUERY), 400);
add("a length with a space inside", framed(["Content-Length: 1 7"], QUERY), 400);
add("a length past 64 bits", framed(["Content-Length: 99999999999999999999999"], QUERY), 400);
add("a length of 2^53", framed(["Content-Length: 9007199254740993"], QUERY), 413);
add("a length over the limit", framed(["Content-Length: 100000"], QUERY), 413);
add("a length that is too short", framed(["Content-Length: 5"], QUERY), 400);
add("a length that is too long", framed(["Content-Length: 40"], QUERY), 408);
add("a length that is too long, half-closed", framed(["Content-Length: 40"], QUERY), {
  bun: 0,
  deno: 400,
  node: 400,
}, { end: true });
add(
  "a length, and chunks",
  framed(["Content-Length: 5", "Transfer-Encoding: chunked"], `11\r\n${QUERY}\r\n0\r\n\r\n`),
  400,
  { streams: true },
);
add(
  "chunks, and a length",
  framed(["Transfer-Encoding: chunked", "Content-Length: 5"], `11\r\n${QUERY}\r\n0\r\n\r\n`),
  400,
  { streams: true },
);
add("a coding that nobody knows", framed(["Transfer-Encoding: odd"], QUERY), 400);
add(
  "a coding before the chunks",
  framed(["Transfer-Encoding: gzip, chunked"], `11\r\n${QUERY}\r\n0\r\n\r\n`),
  { bun: 400, deno: 200, node: 200 },
  { streams: true },
);
add(
  "a coding behind the chunks",
  framed(["Transfer-Encoding: chunked, gzip"], `11\r\n${QUERY}\r\n0\r\n\r\n`),
  400,
);
add(
  "chunks twice",
  framed(
    ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    `11\r\n${QUERY}\r\n0\r\n\r\n`,
  ),
  400,
  { streams: true },
);
add(
  "chunks in capital letters",
  framed(["Transfer-Encoding: CHUNKED"], `11\r\n${QUERY}\r\n0\r\n\r\n`),
  200,
  { streams: true },
);
add(
  "chunks behind a tab",
  framed(["Transfer-Encoding:\tchunked"], `11\r\n${QUERY}\r\n0\r\n\r\n`),
  200,
  { streams: true },
);
add(
  "chunks in quotes",
  framed(['Transfer-Encoding: "chunked"'], `11\r\n${QUERY}\r\n0\r\n\r\n`),
  400,
);
add(
  "a name of chunks with a space",
  framed(["Transfer-Encoding : chunked"], `11\r\n${QUERY}\r\n0\r\n\r\n`),
  400,
);
add(
  "chunks in HTTP/1.0",
  post({
    version: "HTTP/1.0",
    length: "Transfer-Encoding: chunked",
    body: `11\r\n${QUERY}\r\n0\r\n\r\n`,
  }),
  { bun: 400, deno: 400, node: 200 },
  { streams: true },
);
add("a size in capital letters and with zeros", chunked(`000011\r\n${QUERY}\r\n0\r\n\r\n`), 200, {
  streams: true,
});
add("a size that is no number", chunked(`zz\r\n${QUERY}\r\n0\r\n\r\n`), {
  bun: 400,
  deno: 0,
  node: 400,
});
add("a negative size", chunked(`-11\r\n${QUERY}\r\n0\r\n\r\n`), { bun: 400, deno: 0, node: 400 });
add("a size with 0x", chunked(`0x11\r\n${QUERY}\r\n0\r\n\r\n`), { bun: 400, deno: 0, node: 400 });
add("a size past 64 bits", chunked(`FFFFFFFFFFFFFFFFF\r\n${QUERY}\r\n0\r\n\r\n`), {
  bun: 400,
  deno: 0,
  node: 400,
});
add("a size of 16 digits", chunked(`7FFFFFFFFFFFFFFF\r\n${QUERY}`), {
  bun: 400,
  deno: 408,
  node: 408,
});
add("an empty size", chunked(`\r\n${QUERY}\r\n0\r\n\r\n`), { bun: 400, deno: 0, node: 400 });
add("a size that is too short", chunked(`5\r\n${QUERY}\r\n0\r\n\r\n`), {
  bun: 400,
  deno: 0,
  node: 400,
});
add("a size that is too long", chunked(`20\r\n${QUERY}\r\n0\r\n\r\n`), 408);
add("an extension", chunked(`11;a=b\r\n${QUERY}\r\n0\r\n\r\n`), 200, { streams: true });
add("an extension in quotes", chunked(`11;a="b;c"\r\n${QUERY}\r\n0\r\n\r\n`), 200, {
  streams: true,
});
add("an extension with a line break in quotes", chunked(`11;a="b\r\nc"\r\n${QUERY}\r\n0\r\n\r\n`), {
  bun: 400,
  deno: 0,
  node: 400,
});
add("an extension of 20 KB", chunked(`11;${"a".repeat(20_000)}\r\n${QUERY}\r\n0\r\n\r\n`), {
  bun: 413,
  deno: 408,
  node: 413,
}, { streams: true });
add(
  "17 extensions of 20 KB",
  chunked(
    [...QUERY].map((char) => `1;${"a".repeat(20_000)}\r\n${char}\r\n`).join("") + "0\r\n\r\n",
  ),
  { bun: 413, deno: 408, node: 413 },
  { streams: true },
);
add("an extension that never ends", chunked(`11;${"a".repeat(200_000)}`), {
  bun: 413,
  deno: 408,
  node: 413,
});
add("LF behind a size", chunked(`11\n${QUERY}\r\n0\r\n\r\n`), { bun: 400, deno: 0, node: 400 }, {
  streams: true,
});
add("spaces behind a size", chunked(`11  \r\n${QUERY}\r\n0\r\n\r\n`), {
  bun: 400,
  deno: 200,
  node: 400,
}, { streams: true });
add("no line break behind a chunk", chunked(`11\r\n${QUERY}0\r\n\r\n`), {
  bun: 400,
  deno: 0,
  node: 400,
});
add(
  "bytes of one chunk each",
  chunked([...QUERY].map((char) => `1\r\n${char}\r\n`).join("") + "0\r\n\r\n"),
  200,
  { streams: true },
);
add("no last chunk", chunked(`11\r\n${QUERY}\r\n`), { bun: 408, deno: [0, 408], node: 408 });
add("no last chunk, half-closed", chunked(`11\r\n${QUERY}\r\n`), { bun: 0, deno: 400, node: 400 }, {
  end: true,
});
add("a last chunk of zeros", chunked(`11\r\n${QUERY}\r\n0000\r\n\r\n`), 200, { streams: true });
add("no line break behind the last chunk", chunked(`11\r\n${QUERY}\r\n0\r\n`), {
  bun: 200,
  deno: [0, 408],
  node: 408,
}, { streams: true });
add(
  "a trailer",
  chunked(`11\r\n${QUERY}\r\n0\r\nA: b\r\n\r\n`),
  { bun: 400, deno: 200, node: 200 },
  { streams: true },
);
add("a trailer that is a length", chunked(`11\r\n${QUERY}\r\n0\r\nContent-Length: 5\r\n\r\n`), {
  bun: 400,
  deno: 200,
  node: 400,
}, { streams: true });
add("a trailer of 100 KB", chunked(`11\r\n${QUERY}\r\n0\r\nA: ${"b".repeat(100_000)}\r\n\r\n`), {
  bun: 400,
  deno: [0, 408],
  node: 431,
}, { streams: true });
add("a trailer without a colon", chunked(`11\r\n${QUERY}\r\n0\r\nnothing\r\n\r\n`), {
  bun: 400,
  deno: 0,
  node: 400,
}, { streams: true });
add(
  "chunks over the limit",
  chunked(`${(70_000).toString(16)}\r\n${" ".repeat(70_000)}\r\n0\r\n\r\n`),
  413,
);
add("a body for GET", request({ body: QUERY }), 200);
add(
  "chunks for GET",
  request({ length: "Transfer-Encoding: chunked", body: "1\r\na\r\n0\r\n\r\n" }),
  200,
);
add("a body for HEAD", request({ method: "HEAD", body: QUERY }), 200);
add("a body for DELETE", request({ method: "DELETE", target: "/streaming/a", body: QUERY }), 404);
add("a body for OPTIONS", request({ method: "OPTIONS", target: "/streaming", body: QUERY }), 204);
add("a second request in the body", post({ body: `${request()}` }), 400);
add("bytes behind the request", `${request()}garbage`, { bun: 200, deno: 200, node: 400 });
add("a head in pieces", "GET /health HT", 200, {
  rest: ["TP/1.1\r\nHo", "st: 127.0.0.1\r\nConnection: close\r", "\n\r", "\n"],
});
add("a body in pieces", post({ body: "", length: "Content-Length: 17" }), 200, {
  rest: ['{"que', 'ry":"a', " b c", '"}'],
  streams: true,
});
add("a body that never comes", post({ body: "", length: "Content-Length: 17" }), 408);
add("chunks that never come", chunked(""), 408);

// ---------------------------------------------------------------------------------------------
group = "body";
const typed = (type: string | null, body = QUERY, ...headers: string[]) =>
  post({ type, body, headers });
add("no media type", typed(null), 415);
add("an empty media type", typed("Content-Type:"), 415);
add("text", typed("Content-Type: text/plain"), 415);
add("a form", typed("Content-Type: application/x-www-form-urlencoded", "query=a"), 415);
add(
  "a form of parts",
  typed("Content-Type: multipart/form-data; boundary=a", "--a\r\n\r\na\r\n--a--"),
  415,
);
add("JSON by another name", typed("Content-Type: application/problem+json"), 200, {
  streams: true,
});
add("JSON in capital letters", typed("Content-Type: APPLICATION/JSON"), 200, { streams: true });
add("two media types", typed("Content-Type: application/json\r\nContent-Type: text/plain"), {
  bun: 415,
  deno: 415,
  node: 200,
}, { streams: true });
add("two media types in one line", typed("Content-Type: text/plain, application/json"), 415);
add("a type with 10,000 plus signs", typed(`Content-Type: application/${"+".repeat(10_000)}`), 415);
add("UTF-8", typed("Content-Type: application/json; charset=utf-8"), 200, { streams: true });
add("UTF-8 in quotes", typed('Content-Type: application/json; charset="UTF-8"'), 200, {
  streams: true,
});
add("Latin-1", typed("Content-Type: application/json; charset=iso-8859-1"), 415);
add("a charset that is none", typed("Content-Type: application/json; charset=\xff"), 415);
add("gzip that is none", typed(JSON_TYPE, QUERY, "Content-Encoding: gzip"), 415);
add("two codings", typed(JSON_TYPE, QUERY, "Content-Encoding: gzip, br"), 415);
add("the coding that is none", typed(JSON_TYPE, QUERY, "Content-Encoding: identity"), 200, {
  streams: true,
});
add("an empty coding", typed(JSON_TYPE, QUERY, "Content-Encoding:"), 415, { streams: true });
add("spaces alone", typed(JSON_TYPE, " \r\n\t "), 400);
add("a byte order mark", typed(JSON_TYPE, `\xef\xbb\xbf${QUERY}`), 200, { streams: true });
add("UTF-16", typed(JSON_TYPE, [...QUERY].map((char) => `${char}\0`).join("")), 400);
add("invalid UTF-8", typed(JSON_TYPE, '{"query":"\xff"}'), 400);
add("half a sequence of UTF-8", typed(JSON_TYPE, '{"query":"\xe3\x83"}'), 400);
add("half a surrogate pair in UTF-8", typed(JSON_TYPE, '{"query":"\xed\xa0\x80"}'), 400);
add("UTF-8 that is too long", typed(JSON_TYPE, '{"query":"\xc0\xaf"}'), 400);
add("a NUL in the text", typed(JSON_TYPE, '{"query":"\0"}'), 400);
add("a body at the limit", typed(JSON_TYPE, QUERY.padEnd(64 * 1024)), 200, { streams: true });
add("a body one byte over the limit", typed(JSON_TYPE, QUERY.padEnd(64 * 1024 + 1)), 413);
add(
  "a body over the limit of chats",
  post({ target: "/v1/messages", body: "a".repeat(256 * 1024 + 1) }),
  413,
);

group = "JSON";
const sent = (body: string) => post({ body });
add("cut off", sent('{"query":"a'), 400);
add("two values", sent(`${QUERY}${QUERY}`), 400);
add("a comma too many", sent('{"query":"a",}'), 400);
add("single quotes", sent("{'query':'a'}"), 400);
add("a comment", sent('{"query":"a"/**/}'), 400);
add("a name without quotes", sent('{query:"a"}'), 400);
add("NaN", sent('{"query":NaN}'), 400);
add("a line break in a string", sent('{"query":"a\nb"}'), 400);
add("an escape that is none", sent('{"query":"\\x41"}'), 400);
add("half an escape", sent('{"query":"\\u12"}'), 400);
add("half a surrogate pair, escaped", sent('{"query":"\\ud83d"}'), 200, { streams: true });
add("a NUL, escaped", sent('{"query":"\\u0000"}'), 200, { streams: true });
add("a number that is too large", sent('{"query":"a","seed":1e999}'), 422);
add("a number of 10,000 digits", sent(`{"query":"a","n":${"9".repeat(10_000)}}`), 200, {
  streams: true,
});
add("null", sent("null"), 422);
add("a list", sent("[]"), 422);
add("a string", sent('"query"'), 422);
add("a number", sent("5"), 422);
add("an empty object", sent("{}"), 422);
add("a query that is null", sent('{"query":null}'), 422);
add("a query that is a list", sent('{"query":["a"]}'), 422);
add("a query that is an object", sent('{"query":{"toString":1}}'), 422);
add("a query twice", sent('{"query":1,"query":"a"}'), 200, { streams: true });
add("an empty query", sent('{"query":""}'), 200, { streams: true });
add("a prototype", sent('{"query":"a","__proto__":{"query":"b"}}'), 200, { streams: true });
add("a prototype alone", sent('{"__proto__":{"query":"b"}}'), 422);
add("a constructor", sent('{"query":"a","constructor":{"prototype":{"x":1}}}'), 200, {
  streams: true,
});
add("63 lists in one object", sent(`{"query":"a","x":${"[".repeat(63)}${"]".repeat(63)}}`), 200, {
  streams: true,
});
add("64 lists in one object", sent(`{"query":"a","x":${"[".repeat(64)}${"]".repeat(64)}}`), 400);
add("20,000 objects in each other", sent(`${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`), 400);
add("lists that never close", sent("[".repeat(60_000)), 400);
add("closing brackets first", sent(`${"]".repeat(100)}{"query":"a"}`), 400);
add("brackets in a string", sent(`{"query":"${"[".repeat(100)}"}`), 200, { streams: true });
add("a string of backslashes", sent(`{"query":"${"\\\\".repeat(20_000)}"}`), 200, {
  streams: true,
});
add("a string of escaped quotes", sent(`{"query":"${'\\"'.repeat(20_000)}"}`), 200, {
  streams: true,
});
add("a name of 50,000 letters", sent(`{"query":"a","${"n".repeat(50_000)}":1}`), 200, {
  streams: true,
});
add(
  "5,000 names",
  sent(`{"query":"a",${Array.from({ length: 5000 }, (_, i) => `"n${i}":1`).join()}}`),
  200,
  { streams: true },
);

group = "chat";
const chat = (target: string, body: string) => post({ target, body });
const OPENAI = "/v1/chat/completions";
const many = (item: string, count: number) => Array(count).fill(item).join();
add("no model", chat(OPENAI, '{"messages":[{"role":"user","content":"a"}]}'), 400);
add("no messages", chat(OPENAI, '{"model":"a","messages":[]}'), 400);
add("messages that are an object", chat(OPENAI, '{"model":"a","messages":{"0":{}}}'), 400);
add(
  "a role that is a member of every object",
  chat(OPENAI, '{"model":"a","messages":[{"role":"__proto__","content":"a"}]}'),
  400,
);
add(
  "content that is a number",
  chat(OPENAI, '{"model":"a","messages":[{"role":"user","content":5}]}'),
  400,
);
add(
  "20,000 messages that are null",
  chat(OPENAI, `{"model":"a","messages":[${many("null", 20_000)}]}`),
  400,
);
add(
  "a stream that is a string",
  chat(OPENAI, '{"model":"a","stream":"yes","messages":[{"role":"user","content":"a"}]}'),
  400,
);
add(
  "two choices",
  chat(OPENAI, '{"model":"a","n":2,"messages":[{"role":"user","content":"a"}]}'),
  400,
);
add(
  "a temperature that is too high",
  chat(OPENAI, '{"model":"a","temperature":99,"messages":[{"role":"user","content":"a"}]}'),
  400,
);
add(
  "a model of 20,000 letters",
  chat(OPENAI, `{"model":"${"m".repeat(20_000)}","messages":[{"role":"user","content":"a"}]}`),
  400,
);
add(
  "a good one, as one document",
  chat(OPENAI, '{"model":"a","messages":[{"role":"user","content":"a"}]}'),
  200,
);
add(
  "a good one, as a stream",
  chat(OPENAI, '{"model":"a","stream":true,"messages":[{"role":"user","content":"a"}]}'),
  200,
  { streams: true },
);
add(
  "Anthropic's without max_tokens",
  chat("/v1/messages", '{"model":"a","messages":[{"role":"user","content":"a"}]}'),
  400,
);
add(
  "Anthropic's with a block that is null",
  chat(
    "/v1/messages",
    '{"model":"a","max_tokens":1,"messages":[{"role":"user","content":[null]}]}',
  ),
  400,
);
add(
  "Anthropic's with a picture without data",
  chat(
    "/v1/messages",
    '{"model":"a","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image"}]}]}',
  ),
  200,
);
add(
  "Anthropic's with a tool that servers run",
  chat(
    "/v1/messages",
    '{"model":"a","max_tokens":1,"tools":[{"type":"web_search_20250305","name":"web_search"}],"messages":[{"role":"user","content":"a"}]}',
  ),
  400,
);
add("tokens of nothing to count", chat("/v1/messages/count_tokens", "{}"), 400);
add(
  "useChat's with parts that are a string",
  chat("/api/chat", '{"messages":[{"role":"user","parts":"a"}]}'),
  422,
);
add(
  "useChat's with a part without a type",
  chat("/api/chat", '{"messages":[{"role":"user","parts":[{}]}]}'),
  422,
);
add(
  "useChat's with an id that is a number",
  chat("/api/chat", '{"id":5,"messages":[{"role":"user","parts":[]}]}'),
  422,
);
add(
  "useChat's with a chat's id of 20,000 letters",
  chat(
    "/api/chat",
    `{"id":"${
      "i".repeat(20_000)
    }","messages":[{"role":"user","parts":[{"type":"text","text":"a"}]}]}`,
  ),
  422,
);
add(
  "useChat's with a message's id of 20,000 letters",
  chat(
    "/api/chat",
    `{"messages":[{"id":"${
      "i".repeat(20_000)
    }","role":"user","parts":[{"type":"text","text":"a"}]}]}`,
  ),
  422,
);
add(
  "useChat's with a trigger that nobody knows",
  chat(
    "/api/chat",
    '{"trigger":"a","messages":[{"role":"user","parts":[{"type":"text","text":"a"}]}]}',
  ),
  422,
);
for (
  const [what, body] of [
    ["without a run", '{"threadId":"a","messages":[]}'],
    ["with messages that are an object", '{"threadId":"a","runId":"b","messages":{}}'],
    ["with a role that nobody knows", '{"threadId":"a","runId":"b","messages":[{"role":"a"}]}'],
    [
      "with a call without a name",
      '{"threadId":"a","runId":"b","messages":[{"role":"assistant","toolCalls":[{"id":"a","function":{}}]}]}',
    ],
    [
      "with a result without a call",
      '{"threadId":"a","runId":"b","messages":[{"role":"tool","content":"a"}]}',
    ],
    [
      "with a setting that is out of bounds",
      '{"threadId":"a","runId":"b","messages":[],"forwardedProps":{"temperature":9}}',
    ],
  ] as const
) add(`AG-UI's ${what}`, chat("/ag-ui", body), 422);
add("AG-UI's run by another offset", at(`/ag-ui?offset=5&runId=${"a".repeat(22)}`), 400);
add("AG-UI's run that nobody has begun", at(`/ag-ui?offset=-1&runId=${"a".repeat(22)}`), 404);
add("AG-UI's run by what is no name", at("/ag-ui?offset=-1&runId=a%2F"), 400);

// ---------------------------------------------------------------------------------------------
group = "ids";
const id = "A".repeat(22);
const after = (position: string, parts: Parts = {}) =>
  at(`/streaming/${id}`, { headers: [`Last-Event-ID: ${position}`], ...parts });
add("a position without a dot", after("nothing"), 400);
add("an empty position", after(""), 400);
add("a negative position", after(`${id}.-1`), 400);
add("a position with a fraction", after(`${id}.1.5`), 400);
add("a position of 16 digits", after(`${id}.1234567890123456`), 400);
add("a position in hexadecimal", after(`${id}.0x1`), 400);
add("a position with a sign", after(`${id}.+1`), 400);
add("the position of another stream", after(`${"B".repeat(22)}.1`), 400);
add("a position of an unknown stream", after(`${id}.1`), 404);
add("a position that was lost", after(`${id}.1.lost`), 404);
add("a position that is the end", after(`${id}.end`), 400);
add("an id of 129 letters", after(`${"A".repeat(129)}.1`), 400);
add("an id in another script", after("\xe3\x83\x86.1"), 400);
add(
  "two positions",
  at(`/streaming/${id}`, { headers: [`Last-Event-ID: ${id}.1`, `Last-Event-ID: ${id}.2`] }),
  400,
);
add("a position in the query", at(`/streaming/${id}?lastEventId=nothing`), 400);
add("a position that is a percent sign in the query", at(`/streaming/${id}?lastEventId=%`), 400);
add("a position by POST", post({ headers: [`Last-Event-ID: ${id}.1`] }), 404);
add("a malformed position by POST", post({ headers: ["Last-Event-ID: nothing"] }), 400);
add(
  "a position by POST with a body that never comes",
  post({ body: "", length: "Content-Length: 17", headers: [`Last-Event-ID: ${id}.1`] }),
  408,
);
add(
  "a position by POST with a body over the limit",
  post({ length: "Content-Length: 100000", headers: [`Last-Event-ID: ${id}.1`] }),
  413,
);
add(
  "a position by POST to another API",
  chat(OPENAI, "{}").replace("\r\n\r\n", `\r\nLast-Event-ID: ${id}.1\r\n\r\n`),
  404,
);
add("an id that is a path", at("/streaming/..%2f..%2fhealth"), 404);
add("an id with a NUL", at("/streaming/%00"), 404);
add("an id of 4,000 letters", at(`/streaming/${"A".repeat(4000)}`), 404);
add("an id that is a line break", at("/streaming/%0d%0a"), 404);
add("DELETE of an id that is no UTF-8", at("/streaming/%ff", { method: "DELETE" }), 400);
add("a chat's id that is no UTF-8", at("/api/chat/%ff/stream"), 400);

group = "owners";
const keyed = (key: string | null, parts: Parts = {}) => post({ key, ...parts });
add("no key", keyed(null), 401);
add("an empty key", keyed("Authorization: Bearer "), 401);
add("a wrong key", keyed("Authorization: Bearer key-of-none"), 401);
add("a key that begins as a right one", keyed("Authorization: Bearer key-of-on"), 401);
add("another scheme", keyed("Authorization: Basic a2V5LW9mLW9uZTo="), 401);
add("no scheme", keyed("Authorization: key-of-one"), 401);
add("a scheme in small letters", keyed("Authorization: bearer key-of-one"), 200, { streams: true });
add(
  "two keys",
  keyed("Authorization: Bearer key-of-none\r\nAuthorization: Bearer key-of-one"),
  401,
);
add("a key of 10 KB", keyed(`Authorization: Bearer ${"k".repeat(10_000)}`), 401);
add("a key with bytes over 127", keyed("Authorization: Bearer \xff\xfe"), 401);
add("a key in the other header", keyed("X-Api-Key: key-of-two"), 200, { streams: true });
add("a wrong key in the other header", keyed("X-Api-Key: key-of-none"), 401);
add("no key for metrics", at("/metrics", { key: null }), 401);
add("no key for models", at("/v1/models", { key: null }), 401);
add("no key to stop a stream", at(`/streaming/${id}`, { method: "DELETE", key: null }), 401);
add("no key to resume a stream", at(`/streaming/${id}`, { key: null }), 401);
add("no key for the health", request({ key: null }), 200);
add(
  "no key, and a body that never comes",
  keyed(null, { body: "", length: "Content-Length: 17" }),
  401,
);
add("a key in the query", keyed(null, { target: "/streaming?key=key-of-one" }), 401);

group = "origins";
const from = (...headers: string[]) => post({ headers });
add("our own", from("Origin: http://127.0.0.1"), 200, { streams: true });
add("one with a grant", from("Origin: https://app.example"), 200, { streams: true });
add("another", from("Origin: https://evil.example"), 403);
add("null", from("Origin: null"), 403);
add("one that ends as ours", from("Origin: https://evil.example#127.0.0.1"), 403);
add("no URL", from("Origin: ://"), 403);
add("two", from("Origin: https://app.example", "Origin: https://evil.example"), 403);
add("cross-site", from("Sec-Fetch-Site: cross-site"), 403);
add("a site that nobody knows", from("Sec-Fetch-Site: elsewhere"), 403);
add("a navigation by POST", from("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), 403);
add("a navigation", headed("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), 200);
add(
  "a preflight of another",
  at("/streaming", {
    method: "OPTIONS",
    headers: ["Origin: https://evil.example", "Access-Control-Request-Method: POST"],
  }),
  403,
);
add(
  "a preflight with a line break in its headers",
  at("/streaming", {
    method: "OPTIONS",
    headers: ["Origin: https://app.example", "Access-Control-Request-Headers: a, b\x01"],
  }),
  400,
);
add(
  "a preflight with 3,000 headers",
  at("/streaming", {
    method: "OPTIONS",
    headers: [
      "Origin: https://app.example",
      `Access-Control-Request-Headers: ${"a,".repeat(3000)}a`,
    ],
  }),
  204,
);

/** Every request. */
export const ATTACKS: readonly Attack[] = attacks;
