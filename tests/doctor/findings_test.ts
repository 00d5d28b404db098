/** What measurements mean, without a server: spacings, ends, headers and the proxies' lines. */
import assert from "node:assert/strict";
import test from "node:test";
import {
  type Finding,
  judgeConnections,
  judgeEnd,
  judgeHead,
  judgeLumps,
  judgeSilence,
  longestSilence,
} from "../../lib/doctor/findings.ts";
import type { Observation, Received } from "../../lib/doctor/request.ts";
import { measure } from "../../lib/doctor/spacing.ts";

const DONE = { event: "done", data: "{}" };

/** A response whose tokens arrived at these times; with `sent` a paced one. */
function observation(
  arrivals: readonly number[],
  { sent, ...more }: Partial<Observation> & { sent?: readonly number[] } = {},
): Observation {
  const received: Received[] = arrivals.map((atMs, i) => ({
    atMs,
    event: "message",
    data: JSON.stringify({ token: sent === undefined ? "word " : `${sent[i]} ` }),
  }));
  const endMs = arrivals.at(-1) ?? 0;
  received.push({ atMs: endMs, ...DONE });
  return {
    status: 200,
    headers: {},
    received,
    firstMs: arrivals[0],
    lastMs: endMs,
    endMs,
    ending: "complete",
    error: undefined,
    text: "",
    ...more,
  };
}

/** So many times, `step` ms apart from the first. */
const every = (step: number, count = 30, from = 0) =>
  Array.from({ length: count }, (_, i) => from + i * step);
/** Times as they are where what comes within `window` ms is sent at its end. */
const gathered = (times: readonly number[], window: number) =>
  times.map((ms) => Math.ceil((ms + 1) / window) * window);
const codes = (findings: readonly Finding[]) => findings.map(({ code }) => code);

test("measure() of a paced source: even, in lumps, or sent in lumps", () => {
  const sent = every(50);
  const shapeOf = (arrivals: readonly number[], marks: readonly number[] = sent) =>
    measure(observation(arrivals, { sent: marks }), 50).shape;
  assert.equal(shapeOf(sent.map((ms) => ms + 300)), "even");
  assert.equal(shapeOf(sent.map((ms, i) => ms + i % 3 * 20)), "even");
  assert.equal(shapeOf(gathered(sent, 200)), "lumps");
  assert.equal(shapeOf(sent.map(() => 1500)), "lumps");
  // The server was held up, not the path.
  assert.equal(shapeOf(gathered(sent, 200), gathered(sent, 200)), "sent");
  assert.equal(shapeOf(every(50, 4), every(50, 4)), "few");
});

test("measure() says how much longer than the fastest a token took, and the pauses", () => {
  const { heldMs, tokens, arrivals, pauseMs } = measure(
    observation(gathered(every(50), 200), { sent: every(50) }),
    50,
  );
  assert.deepEqual([heldMs, tokens, arrivals, pauseMs], [150, 30, 8, 200]);
});

test("measure() of a model: a fast one is even, one that comes in lumps is not", () => {
  const shapeOf = (arrivals: readonly number[]) => measure(observation(arrivals), undefined).shape;
  assert.equal(shapeOf(every(10, 100)), "even");
  assert.equal(shapeOf(every(2, 400)), "even");
  assert.equal(shapeOf(every(1, 400, 100)), "even");
  assert.equal(shapeOf(gathered(every(20, 100), 400)), "lumps");
  assert.equal(shapeOf(gathered(every(5, 300), 20)), "even");
  assert.equal(shapeOf(every(0, 100, 2000)), "lumps");
  assert.equal(shapeOf(every(0, 100, 900)), "few");
  assert.equal(shapeOf(every(20, 4)), "few");
  assert.equal(shapeOf([...every(0, 20), ...every(0, 20, 20)]), "few");
  const { longestPauseMs } = measure(observation(every(10, 100, 700)), undefined);
  assert.equal(longestPauseMs, 700);
});

/** What is found of lumps under these response headers. */
function lumps(headers: Record<string, string>, arrivals = every(0, 30, 1500)): Finding {
  const held = observation(arrivals, { sent: every(50), headers });
  const [finding, ...more] = judgeLumps(
    { observation: held, spacing: measure(held, 50) },
    undefined,
    true,
  );
  assert.deepEqual(more, []);
  return finding!;
}

test("judgeLumps() has the line of each proxy that it knows", () => {
  for (
    const [headers, name, line] of [
      [{ server: "nginx/1.22.1" }, "nginx", "proxy_buffering off;"],
      [{ server: "openresty" }, "nginx", "proxy_buffering off;"],
      [{ server: "Caddy" }, "Caddy", "flush_interval -1"],
      [{ via: "1.1 Caddy" }, "Caddy", "flush_interval -1"],
      [{ server: "Apache/2.4.62 (Debian)" }, "Apache", "flushpackets=on"],
      [{ server: "cloudflare" }, "Cloudflare", "response buffering"],
      [{ "cf-ray": "1-FRA" }, "Cloudflare", "response buffering"],
      [{ via: "1.1 haproxy" }, "HAProxy", "option http-no-delay"],
    ] as const
  ) {
    const { code, verdict, change } = lumps(headers);
    assert.equal(code, "buffering");
    assert.match(verdict, new RegExp(`probably in ${name}\\.$`));
    assert.ok(change.includes(line), change);
  }
});

test("judgeLumps() knows HAProxy by its pause of 200 ms", () => {
  const { change } = lumps({}, gathered(every(50), 210));
  assert.equal(change, "HAProxy, in the backend: option http-no-delay");
  // A model may pause so by itself.
  const model = observation(gathered(every(50), 210));
  const [found] = judgeLumps(
    { observation: model, spacing: measure(model, undefined) },
    undefined,
    false,
  );
  assert.match(found!.verdict, /buffers them, or the model sends them so/);
});

test("judgeLumps() names a missing header where it knows no proxy, else what any proxy needs", () => {
  assert.equal(lumps({}).code, "missing_header");
  const { code, change } = lumps({ "x-accel-buffering": "no" });
  assert.equal(code, "buffering");
  assert.match(change, /^Each proxy of the path: switch response buffering off/);
});

test("judgeHead() accepts what was asked for", () => {
  const headed = (type: string) => observation([], { headers: { "content-type": type } });
  assert.deepEqual(judgeHead(headed("text/event-stream; charset=utf-8"), "text/event-stream"), []);
  assert.deepEqual(judgeHead(headed("Text/Event-Stream"), "text/event-stream"), []);
  assert.deepEqual(judgeHead(headed("application/x-ndjson"), "application/x-ndjson"), []);
  assert.deepEqual(codes(judgeHead(headed("text/html"), "text/event-stream")), ["content_type"]);
  assert.deepEqual(codes(judgeHead(observation([]), "text/event-stream")), ["content_type"]);
});

test("judgeEnd() tells a silence from a cut in the middle, and an end from none", () => {
  const cut = (lastMs: number, endMs: number) =>
    codes(judgeEnd(observation([lastMs], { ending: "cut", endMs }), false));
  assert.deepEqual(cut(100, 3100), ["idle_cut"]);
  assert.deepEqual(cut(100, 400), ["cut"]);
  // A heartbeat would have come before that.
  assert.deepEqual(cut(100, 30_100), []);
  assert.deepEqual(judgeEnd(observation(every(50)), true), []);
  const endless = observation(every(50), { received: [] });
  assert.deepEqual(codes(judgeEnd(endless, true)), ["cut"]);
  assert.deepEqual(judgeEnd(endless, false), []);
  assert.deepEqual(judgeEnd(observation([0], { ending: "limit", endMs: 9000 }), true), []);
  const gaveUp = observation([], { status: 504, received: [], lastMs: undefined, endMs: 3000 });
  assert.deepEqual(codes(judgeEnd(gaveUp, false)), ["idle_cut"]);
});

test("judgeEnd() goes by the heartbeat that the server says it has", () => {
  const cut = (settings: string) =>
    judgeEnd(
      observation([0], {
        ending: "cut",
        endMs: 9000,
        headers: { "x-stream-settings": settings, server: "nginx" },
      }),
      true,
    );
  assert.deepEqual(cut("heartbeat=5000, retry=1000"), []);
  const [{ change }] = cut("heartbeat=15000, retry=1000") as [Finding];
  assert.match(change, /proxy_read_timeout 60s; or, on the server: heartbeatMs: 4000 /);
  assert.deepEqual(codes(cut("heartbeat=0")), ["idle_cut"]);
  assert.equal(longestSilence({ "x-stream-settings": "heartbeat=15000" }), 16_000);
  assert.equal(longestSilence({ "x-stream-settings": "heartbeat=0" }), 6000);
  assert.equal(longestSilence({}), 6000);
});

test("judgeSilence() says how long a silence was borne, and nothing of what was not tried", () => {
  assert.deepEqual(judgeSilence(observation([0, 6000]), 6000), [6000, []]);
  const [borneMs, findings] = judgeSilence(
    observation([10], { received: [], endMs: 3010, ending: "cut" }),
    6000,
  );
  assert.deepEqual([borneMs, codes(findings)], [3000, ["idle_cut"]]);
  assert.deepEqual(judgeSilence(observation([], { status: 406 }), 6000), [undefined, []]);
  assert.deepEqual(judgeSilence(observation([], { ending: "limit" }), 6000), [undefined, []]);
});

test("judgeConnections() tells those that wait from those that are rejected, and by whom", () => {
  const served = observation(every(50, 20));
  const six = Array.from({ length: 6 }, () => served);
  assert.deepEqual(judgeConnections([...six, served]), []);
  const [waits] = judgeConnections([...six, observation(every(50, 20, 950))]);
  assert.match(waits!.verdict, /serves 6: the next one waited\.$/);
  const slow = observation(every(150, 20));
  assert.deepEqual(judgeConnections([...six, slow]), []);
  const held = (ms: number) => observation(every(0, 20, ms));
  assert.deepEqual(judgeConnections([held(1000), held(1010)]), []);
  assert.deepEqual(codes(judgeConnections([held(1000), held(2000)])), ["connections"]);
  const nginx = observation([], { status: 503, headers: { server: "nginx" }, text: "<html>" });
  const [rejected] = judgeConnections([...six, nginx]);
  assert.match(rejected!.verdict, /the next one got 503\.$/);
  assert.match(rejected!.change, /limit_conn/);
  const [own] = judgeConnections([
    ...six,
    observation([], { status: 429, text: '{"code":"too_many_streams"}' }),
  ]);
  assert.match(own!.change, /limits\.maxStreamsPerOwner/);
  const [silent] = judgeConnections([
    ...six,
    observation([], { status: 0, ending: "cut", error: "ECONNRESET" }),
  ]);
  assert.match(silent!.verdict, /got ECONNRESET\.$/);
});
