/**
 * `spillway doctor` before a good path and before proxies with one fault each. All of them wait for the
 * same pace, so they are asked at once, and each test looks at its own.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createHandler } from "../lib/handler.ts";
import { doctor } from "../lib/doctor.ts";
import { paced } from "../lib/sources/paced.ts";
import { httpProxy, type Proxy, tcpProxy } from "./support/proxies.ts";
import { serve, type Served } from "./support/serve.ts";
import { timed } from "./support/timing.ts";

interface Run {
  readonly code: number;
  readonly text: string;
  readonly errors: string;
}

/** What `--json` prints, as far as it is looked at. */
interface Printed {
  readonly verdict: string;
  readonly isPaced: boolean;
  readonly reason?: string;
  readonly proxy?: string;
  readonly notes: string[];
  readonly findings: { code: string; verdict: string; change: string }[];
  readonly measured: {
    tokens: { tokens: number; arrivals: number; heldMs: number; shape: string; encoding?: string };
    silence?: { borneMs: number; triedMs: number };
    connections?: { served: number; tried: number };
  };
}

async function run(args: string[]): Promise<Run> {
  let text = "";
  let errors = "";
  const print = (line: string) => void (text += `${line}\n`);
  const printError = (line: string) => void (errors += `${line}\n`);
  return { code: await doctor(args, { print, printError, colour: false }), text, errors };
}

/** Its findings' codes, its exit code, and all that it has printed. */
async function diagnosed(name: keyof typeof CASES): Promise<[string[], number, Printed]> {
  const { code, text } = await runs.get(name)!;
  const printed = JSON.parse(text) as Printed;
  return [printed.findings.map(({ code }) => code), code, printed];
}

const PACED = ["--paced", "--json", "--silence-ms", "0", "--connections", "1"];
/** Each case: the arguments, where the URL of its path stands at the end of the first. */
const CASES = {
  good: async () => [await way(tcpProxy, {}), "--paced", "--silence-ms", "300"],
  gzip: async () => [await way(httpProxy, { gzip: true, headers: { server: "nginx" } }), ...PACED],
  "flushed gzip": async () => [await way(httpProxy, { gzip: true, buffers: true }), ...PACED],
  buffers: async () => [
    await way(httpProxy, { buffers: true, headers: { "x-accel-buffering": "" } }),
    ...PACED,
  ],
  idle: async () => [
    await way(tcpProxy, { idleMs: 1200 }),
    "--paced",
    "--json",
    "--connections",
    "1",
  ],
  six: async () => [
    await way(tcpProxy, { connections: 6 }),
    "--paced",
    "--json",
    "--silence-ms",
    "0",
  ],
  model: async () => [await way(tcpProxy, {}), "--json", "--body", '{"query":"pauses"}'],
  "paced by hand": async () => [
    await way(tcpProxy, {}),
    "--json",
    "--body",
    '{"query":"","paced":{"tokens":20}}',
  ],
  "at once": async () => [await way(tcpProxy, {}), "--json", "--body", '{"query":"at once"}'],
  "no paced source": () => [
    `${other.url}/streaming`,
    "--paced",
    "--json",
    "--body",
    '{"query":"even"}',
  ],
  "wrong type": async () => [
    await way(httpProxy, { headers: { "content-type": "text/plain" } }),
    ...PACED,
  ],
  key: () => [locked.url, "--paced", "--json"],
  "with its key": () => [locked.url, ...PACED, "--header", "X-Key: s3cret"],
  limit: () => [
    `${other.url}/streaming`,
    "--json",
    "--timeout-ms",
    "1200",
    "--body",
    '{"query":"even"}',
  ],
} satisfies Record<string, () => string[] | Promise<string[]>>;

/** A model: words at a pace, or after a thought. */
async function* model({ input }: { input: { query: string } }): AsyncGenerator<string, void> {
  const even = input.query === "even";
  const tokens = even ? 60 : 40;
  for (let i = 0; i < tokens; i++) {
    const thinks = i % 10 === 0 && input.query === "pauses";
    if (even || thinks) await new Promise((resolve) => setTimeout(resolve, even ? 30 : 250));
    // Numbers, as a paced source has them.
    yield `${i} `;
  }
}

const options = { log: false, commitAfterMs: 0 } as const;
let server: Served;
/** One that has no paced source, and one that asks for a key. */
let other: Served;
let locked: Served;
/** One whose streams never end, or never have a line break. */
let endless: Served;
const open: Proxy[] = [];
const runs = new Map<string, Promise<Run>>();

async function way<Fault>(
  proxy: (port: number, fault: Fault) => Promise<Proxy>,
  fault: Fault,
): Promise<string> {
  const opened = await proxy(server.port, fault);
  open.push(opened);
  return opened.url;
}

before(() => {
  // Heartbeats must not hide that a path cuts what is silent.
  const beating = { ...options, heartbeatMs: 300 };
  server = serve(createHandler({ ...beating, source: paced(model) }).fetch);
  other = serve(createHandler({ ...options, source: model }).fetch);
  const authorize = (request: Request) => request.headers.get("x-key") === "s3cret" ? "me" : null;
  locked = serve(createHandler({ ...options, source: paced(model), authorize }).fetch);
  endless = serve((request) => {
    const type = new URL(request.url).searchParams.get("type")!;
    const chunk = new TextEncoder().encode(
      request.url.includes("line") ? "x".repeat(65_536) : `data: {"token":"1 "}\n\n`.repeat(3000),
    );
    const pull = (body: ReadableStreamDefaultController<Uint8Array>) => body.enqueue(chunk);
    return new Response(new ReadableStream({ pull }), { headers: { "content-type": type } });
  });
  for (const [name, args] of Object.entries(CASES)) {
    runs.set(name, Promise.resolve(args()).then(run));
  }
});
after(async () => {
  await Promise.all(open.map((proxy) => proxy.close()));
  await Promise.all([server, other, locked, endless].map((one) => one.close()));
});

test("doctor finds nothing on a good path, and shows the arrivals in a line of bars", async () => {
  const { code, text, errors } = await runs.get("good")!;
  assert.deepEqual([code, errors], [0, ""], text);
  assert.match(
    text,
    /^POST http:\/\/127\.0\.0\.1:\d+\/streaming\n\ntokens {7}[·▁▂▃▄▅▆▇█]{40} 30 in /,
  );
  assert.match(text, /\nsilence {6}borne for 0\.3 s\nconnections {2}7 of 7 at once\n/);
  assert.match(text, /\nGood: tokens arrive one by one\.\n/);
  assert.match(text, /\nNote: Without HTTP\/2 a browser opens six connections/);
});

test("doctor blames a proxy that compresses without flushing, with that proxy's line", async () => {
  const [codes, exit, { findings, measured, proxy }] = await diagnosed("gzip");
  assert.deepEqual([codes, exit, proxy], [["compression"], 1, "nginx"]);
  assert.match(findings[0]!.verdict, /compression \(gzip\) holds them back, probably in nginx\.$/);
  assert.equal(findings[0]!.change, "nginx, in this location: gzip off;");
  assert.equal(measured.tokens.encoding, "gzip");
  assert.ok(measured.tokens.heldMs > 700, JSON.stringify(measured));
});

test("doctor does not blame compression for what is held back without it as well", async () => {
  const [codes, exit] = await diagnosed("flushed gzip");
  assert.deepEqual([codes, exit], [["buffering"], 1]);
});

test("doctor blames a path that buffers, and names the header that is missing", async () => {
  const [codes, exit, { findings, measured }] = await diagnosed("buffers");
  assert.deepEqual([codes, exit], [["missing_header"], 1]);
  assert.equal(findings[0]!.change, "Response header: X-Accel-Buffering: no");
  assert.deepEqual([measured.tokens.shape, measured.tokens.tokens], ["lumps", 30]);
});

test("doctor says after which silence a path cuts, and which heartbeat prevents it", async () => {
  const [codes, exit, { findings, measured }] = await diagnosed("idle");
  assert.deepEqual([codes, exit], [["idle_cut"], 1]);
  // A second more than the heartbeat that the server has told.
  const { borneMs, triedMs } = measured.silence!;
  assert.ok(borneMs > 800 && borneMs < 2500 && triedMs === 1300, String(borneMs));
  assert.match(findings[0]!.change, /^On the server: heartbeatMs: (500|1000) /);
});

timed("doctor opens seven streams, and finds a path that serves six", async () => {
  const [codes, exit, { findings, measured }] = await diagnosed("six");
  assert.deepEqual([codes, exit], [["connections"], 1]);
  assert.deepEqual(measured.connections, { served: 6, tried: 7 });
  assert.match(findings[0]!.verdict, /serves 6: the next one waited\.$/);
});

test("doctor says that the model may be the cause where its source is not paced", async () => {
  const [codes, exit, { findings, isPaced, measured }] = await diagnosed("model");
  assert.deepEqual([codes, exit, isPaced], [["buffering"], 1, false]);
  assert.match(findings[0]!.verdict, /or the model sends them so \(--paced tells which\)\.$/);
  // Each further stream would be a generation that is paid for.
  assert.deepEqual([measured.silence, measured.connections], [undefined, undefined]);
});

test("doctor opens no further streams without --paced, whatever its body asks for", async () => {
  const [codes, exit, { isPaced, measured }] = await diagnosed("paced by hand");
  assert.deepEqual([codes, exit, isPaced], [[], 0, false]);
  assert.deepEqual([measured.silence, measured.connections], [undefined, undefined]);
});

test("doctor does not judge what comes all at once", async () => {
  const [codes, exit, { verdict, reason }] = await diagnosed("at once");
  assert.deepEqual([codes, exit, verdict], [[], 2, "unknown"]);
  assert.match(reason!, /^40 tokens in \d\.\d s are too few to judge$/);
});

test("doctor --paced says so where the server has no paced source, and asks it once", async () => {
  const [codes, exit, { isPaced, notes, measured }] = await diagnosed("no paced source");
  assert.deepEqual([codes, exit, isPaced], [[], 0, false]);
  assert.match(notes[0]!, /no paced source/);
  assert.match(notes[1]!, /The model may be the cause of pauses up to 0\.\d s/);
  assert.equal(measured.connections, undefined);
});

test("doctor blames a content type that an EventSource does not accept", async () => {
  const [codes, exit] = await diagnosed("wrong type");
  assert.deepEqual([codes, exit], [["content_type"], 1]);
});

test("doctor's paced source is behind the server's authorization", async () => {
  const [codes, exit, { reason }] = await diagnosed("key");
  assert.deepEqual([codes, exit], [[], 2]);
  assert.match(reason!, /^the response is 401: credentials go with --header/);
  const [, good, { isPaced }] = await diagnosed("with its key");
  assert.deepEqual([good, isPaced], [0, true]);
});

test("doctor keeps to its limit, and judges what has come until then", async () => {
  const [codes, exit, { notes }] = await diagnosed("limit");
  assert.deepEqual([codes, exit], [[], 0]);
  assert.ok(notes.some((note) => note.includes("not read to its end")), notes.join());
});

test("doctor reads no stream without bounds: neither a line, nor events, nor their number", async () => {
  const types = ["text/event-stream", "application/x-ndjson"];
  for (const path of types.flatMap((type) => [`/line?type=${type}`, `/many?type=${type}`])) {
    const { text } = await run([`${endless.url}${path}`, "--header", "accept: */*"]);
    assert.match(text, /Note: The stream was not read to its end/, path);
    // Not by the limit of time.
    assert.doesNotMatch(text, / [3-9]\d\.\d s/);
  }
});

test("doctor cannot ask where nobody listens, or the URL is none of a stream", async () => {
  const { code, text } = await run(["http://127.0.0.1:1", "--paced"]);
  assert.equal(code, 2);
  assert.match(text, /Not judged: ECONNREFUSED\.\n$/);
  const missing = await run([`${other.url}/nothing`]);
  assert.equal(missing.code, 2);
  assert.match(missing.text, /Not judged: the response is 404: the URL needs the path/);
});
