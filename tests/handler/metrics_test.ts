/** What a handler counts, and that no label has a value that a stranger has chosen. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler, type HandlerOptions } from "../../lib/handler.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import { StreamError } from "../../lib/error.ts";
import type { StandardSchema } from "../../lib/handler/input.ts";
import { until } from "../support/serve.ts";

type Options = Omit<HandlerOptions<StandardSchema>, "source" | "models">;
const quiet = { onError: () => {} };
const url = "http://localhost";

function handlerOf(options: Partial<Options> & { source?: unknown; models?: unknown } = {}) {
  // deno-lint-ignore no-explicit-any
  return createHandler({ source: ["a", "b"], ...quiet, ...options } as any);
}

type Handler = ReturnType<typeof handlerOf>;

function post(handler: Handler, body: unknown, path = "/streaming", headers = {}) {
  return handler.fetch(
    new Request(`${url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
    }),
  );
}

/** The value of each series of `/metrics`, by its name with labels. */
async function scrape(handler: Handler): Promise<Map<string, number>> {
  const response = await handler.fetch(new Request(`${url}/metrics`));
  const lines = (await response.text()).split("\n").filter((line) => !/^(#|$)/.test(line));
  return new Map(lines.map((line) => {
    const at = line.lastIndexOf(" ");
    return [line.slice(0, at), Number(line.slice(at + 1))];
  }));
}

/** How much each series has grown while `run` ran: counts of the process come from other tests too. */
async function growth(handler: Handler, run: () => Promise<unknown>) {
  const before = await scrape(handler);
  await run();
  const after = await scrape(handler);
  return (name: string) => {
    assert(after.has(name), `${name} is shown`);
    return after.get(name)! - (before.get(name) ?? 0);
  };
}

const model = 'gen_ai_operation_name="chat",gen_ai_provider_name="spillway",gen_ai_request_model=';

test("streams are counted by model, outcome and code; every code that is not ours is other", async () => {
  const handler = handlerOf({
    source: ({ input }: { input: { query: string } }) => {
      if (input.query === "mine") throw new StreamError(`quota "of" ${input.query}`);
      if (input.query === "broken") throw new Error("broken");
      return ["a", "b", "c"];
    },
    model: 'the "best"\\\n',
  });
  const grown = await growth(handler, async () => {
    for (const query of ["mine", "broken", "good"]) await (await post(handler, { query })).text();
  });
  const label = 'model="the \\"best\\"\\\\\\n"';
  assert.equal(grown(`spillway_streams_total{${label},outcome="completed"}`), 1);
  assert.equal(grown(`spillway_streams_total{${label},outcome="failed",code="internal"}`), 1);
  assert.equal(grown(`spillway_streams_total{${label},outcome="failed",code="other"}`), 1);
  assert.equal(grown('spillway_ended_total{outcome="failed"}'), 2);
  assert.deepEqual(handler.stats().codes, { internal: 1, other: 1 });
});

test("a model is a label by the operator's names alone", async () => {
  const chat = (name: string) => ({ model: name, messages: [{ role: "user", content: "Hi" }] });
  const path = "/v1/chat/completions";
  const named = handlerOf({ source: undefined, models: { small: ["a"], large: ["b"] } });
  const grown = await growth(named, async () => {
    await (await post(named, chat("large"), path)).text();
    await (await post(named, chat("a stranger's"), path)).text();
    await (await post(named, { query: "" })).text();
  });
  assert.equal(grown('spillway_streams_total{model="large",outcome="completed"}'), 1);
  assert.equal(grown('spillway_streams_total{model="small",outcome="completed"}'), 1);
  assert.equal(grown('spillway_rejected_requests_total{code="model_not_found"}'), 1);
  const free = handlerOf();
  await (await post(free, chat("a stranger's"), path)).text();
  const counted = await scrape(free);
  const names = [...counted.keys(), ...(await scrape(named)).keys()];
  assert.deepEqual(names.filter((name) => name.includes("stranger")), []);
  assert.equal(counted.get('spillway_streams_total{model="spillway",outcome="completed"}'), 1);
});

test("time to first token, time per token and duration are histograms of the GenAI conventions", async () => {
  let nowMs = 0;
  const clock = {
    now: () => nowMs,
    setTimer: (run: () => void, ms: number) => setTimeout(run, ms),
    clearTimer: (timer: unknown) => clearTimeout(timer as number),
  };
  const handler = handlerOf({
    clock,
    log: false,
    source: async function* () {
      nowMs += 300;
      yield "a";
      await Promise.resolve();
      nowMs += 80;
      yield "b";
      nowMs += 40;
      yield "c";
    },
  } as never);
  const grown = await growth(
    handler,
    async () => void await (await post(handler, { query: "" })).text(),
  );
  const series = (name: string, le: string) => `${name}_bucket{${model}"spillway",le="${le}"}`;
  const first = "gen_ai_server_time_to_first_token_seconds";
  assert.deepEqual(["0.25", "0.5", "+Inf"].map((le) => grown(series(first, le))), [0, 1, 1]);
  assert.equal(grown(`${first}_sum{${model}"spillway"}`), 0.3);
  const token = "gen_ai_server_time_per_output_token_seconds";
  assert.deepEqual(["0.05", "0.075", "+Inf"].map((le) => grown(series(token, le))), [0, 1, 1]);
  assert.equal(grown(`${token}_sum{${model}"spillway"}`), 0.06);
  const duration = "gen_ai_server_request_duration_seconds";
  assert.deepEqual(["0.32", "0.64"].map((le) => grown(series(duration, le))), [0, 1]);
});

test("a stream that failed has a duration with its code, and no time to first token", async () => {
  const handler = handlerOf({
    source: async function* () {
      yield "a";
      throw new Error("broken");
    },
  });
  const grown = await growth(
    handler,
    async () => void await (await post(handler, { query: "" })).text(),
  );
  assert.equal(grown(`gen_ai_server_time_to_first_token_seconds_count{${model}"spillway"}`), 0);
  const duration = "gen_ai_server_request_duration_seconds_count";
  assert.equal(grown(`${duration}{${model}"spillway",error_type="internal"}`), 1);
  assert.equal(grown(`${duration}{${model}"spillway"}`), 0);
});

test("requests without a stream are counted by code, their bodies too, and every response by status", async () => {
  const handler = handlerOf({ limits: { maxBodyBytes: 40 } });
  const grown = await growth(handler, async () => {
    await post(handler, "no JSON");
    await post(handler, JSON.stringify({ query: "x".repeat(50) }));
    await post(handler, { query: "" }, "/streaming", { "content-type": "text/plain" });
    await post(handler, { query: 5 });
    await handler.fetch(new Request(`${url}/nowhere`));
    await handler.fetch({} as Request);
  });
  const rejected = (code: string) => grown(`spillway_rejected_requests_total{code="${code}"}`);
  const bodies = (code: string) => grown(`spillway_rejected_bodies_total{code="${code}"}`);
  for (const code of ["bad_request", "payload_too_large", "unsupported_media_type"]) {
    assert.deepEqual([code, bodies(code), rejected(code)], [code, 1, 1]);
  }
  assert.deepEqual([rejected("invalid_input"), rejected("not_found")], [1, 1]);
  assert.equal(grown('spillway_responses_total{status="413"}'), 1);
  assert.equal(grown('spillway_responses_total{status="404"}'), 1);
  assert.equal(grown('spillway_rejected_requests_total{code="internal"}'), 1);
});

test("each kind of request that is turned away is counted by its code, once", async () => {
  const free: (() => void)[] = [];
  const handler = handlerOf({
    source: ({ input }: { input: { query: string } }) =>
      input.query === "stay" ? new Promise<string>((go) => free.push(() => go("a"))) : "a",
    authorize: (request: Request) => request.headers.get("x-owner") ?? undefined,
    allowedHosts: ["localhost"],
    limits: { maxBodyBytes: 40, maxStreams: 2, maxStreamsPerOwner: 1 },
  });
  const ask = (path: string, init: RequestInit = {}, owner: object = { "x-owner": "one" }) =>
    handler.fetch(
      new Request(`${url}${path}`, { ...init, headers: { ...owner, ...init.headers } }),
    );
  const put = (query: string, path = "/streaming", headers = {}) =>
    post(handler, { query }, path, { "x-owner": "one", ...headers });
  const cases: [code: string, status: number, send: () => Promise<Response>][] = [
    ["bad_request", 400, () => ask("/health", { headers: { host: "a/b" } })],
    ["bad_request", 400, () => ask("/v1/models/%ff")],
    ["bad_request", 400, () => put("", "/streaming?format=xml")],
    ["unauthorized", 401, () => ask("/streaming", { method: "POST" }, {})],
    ["forbidden", 403, () => ask("/health", { headers: { "sec-fetch-site": "cross-site" } })],
    ["not_found", 404, () => ask("/nowhere")],
    ["not_found", 404, () => ask("/streaming/unknown", { method: "DELETE" })],
    ["method_not_allowed", 405, () => ask("/streaming", { method: "PUT" })],
    ["not_acceptable", 406, () => put("", "/streaming", { accept: "image/png" })],
    ["payload_too_large", 413, () => put("x".repeat(50))],
    ["unsupported_media_type", 415, () => put("", "/streaming", { "content-type": "text/plain" })],
    ["misdirected", 421, () => handler.fetch(new Request("http://elsewhere.example/health"))],
    ["invalid_input", 422, () => post(handler, {}, "/streaming", { "x-owner": "one" })],
    ["too_many_streams", 429, () => put("a", "/streaming", { "x-owner": "stays" })],
    ["too_many_streams", 503, () => put("a", "/streaming", { "x-owner": "third" })],
    ["shutting_down", 503, () => put("a")],
  ];
  const stays: Promise<Response>[] = [];
  for (const [code, status, send] of cases) {
    if (status === 429) stays.push(put("stay", "/streaming", { "x-owner": "stays" }));
    else if (code === "too_many_streams") {
      stays.push(put("stay", "/streaming", { "x-owner": "too" }));
    } else if (code === "shutting_down") void handler.drain();
    await until(() => handler.stats().active.streams === stays.length, 2000, "they stay");
    const before = handler.stats().rejected;
    const response = await send();
    assert.deepEqual([code, response.status], [code, status]);
    await response.text();
    const after = { ...before, [code]: before[code]! + 1 };
    assert.deepEqual(handler.stats().rejected, after, `${code} is counted, and no other`);
  }
  const named = await ask("/metrics");
  const text = await named.text();
  for (const [code] of cases) {
    assert.match(
      text,
      new RegExp(`^spillway_rejected_requests_total\\{code="${code}"\\} [1-9]`, "m"),
    );
  }
  free.forEach((go) => go());
  for (const stay of stays) await (await stay).text();
  // A stream that failed before its headers is counted as a stream, and one that a log has no room
  // for never was one.
  const failing = handlerOf({ source: () => Promise.reject(new Error("broken")) });
  assert.equal((await post(failing, { query: "" })).status, 500);
  assert.deepEqual([failing.stats().codes, failing.stats().rejected.internal], [
    { internal: 1 },
    undefined,
  ]);
  const log = {
    record() {
      throw new StreamError("log_full", { status: 503 });
    },
  };
  const full = handlerOf({ log: Object.assign(new MemoryLog(), log) });
  assert.equal((await post(full, { query: "" })).status, 503);
  assert.deepEqual([full.stats().codes, full.stats().rejected.log_full], [{}, 1]);
});

test("resumes, readers of the log and what it holds are counted", async () => {
  const handler = handlerOf();
  const grown = await growth(handler, async () => {
    const first = await post(handler, { query: "" });
    const id = first.headers.get("x-stream-id");
    await first.text();
    const again = (position: string) =>
      handler.fetch(
        new Request(`${url}/streaming/${id}`, {
          headers: { "last-event-id": `${id}.${position}` },
        }),
      );
    await (await again("1")).text();
    assert.equal((await again("3")).status, 204);
    assert.equal((await again("99")).status, 400);
    assert.equal((await handler.fetch(new Request(`${url}/streaming/unknown`))).status, 404);
  });
  const resumes = (result: string) => grown(`spillway_resumes_total{result="${result}"}`);
  assert.deepEqual(["resumed", "nothing", "bad_request", "not_found"].map(resumes), [1, 1, 1, 1]);
  assert.equal(grown('spillway_log_readers_total{reason="served"}'), 2);
  assert.equal(grown("spillway_log_written_events_total"), 3);
  assert(grown("spillway_log_written_bytes_total") > 100);
  assert.equal(grown("spillway_log_streams"), 1);
  assert.equal(grown("spillway_log_events"), 3);
  assert(grown("spillway_log_bytes") > 1000);
  assert.deepEqual(handler.stats().log?.streams, 1);
});

test("readers of the log that stall or leave are counted, and streams that it has no room for", async () => {
  const endless = async function* () {
    for (;;) {
      yield "x".repeat(1000);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  const log = new MemoryLog({ maxBytes: 200_000, maxStreamBytes: 131_072 });
  const handler = handlerOf({ source: endless, stallMs: 100, log, disconnect: "cancel" });
  const grown = await growth(handler, async () => {
    await post(handler, { query: "" });
    await until(() => handler.stats().active.readers === 0, 5000, "the reader is dropped");
    await (await post(handler, { query: "" })).body!.cancel();
    await until(() => handler.stats().active.streams === 0, 5000, "the stream has ended");
    const full = handlerOf({
      log: new MemoryLog({ maxBytes: 131_072, maxStreamBytes: 131_072 }),
      source: endless,
    });
    const open: Response[] = [];
    for (let i = 0; i < 200; i++) open.push(await post(full, { query: "" }));
    assert(open.some(({ status }) => status === 503));
    await full.drain({ timeoutMs: 0 });
  });
  assert.equal(grown('spillway_log_readers_total{reason="stalled"}'), 1);
  assert(grown('spillway_log_readers_total{reason="disconnected"}') >= 1);
  assert(grown('spillway_log_rejected_streams_total{code="log_full"}') >= 1);
});

test("without a log a stall and an overflow are codes of streams", async () => {
  const handler = handlerOf({
    log: false,
    stallMs: 100,
    maxBufferedBytes: 65_536,
    source: (
      { queue, input }: { queue: { send(text: string): unknown }; input: { query: string } },
    ) => {
      const n = input.query === "overflow" ? 1000 : 2;
      for (let i = 0; i < n; i++) queue.send("x".repeat(1000));
    },
  });
  const grown = await growth(handler, async () => {
    const [stalled] = [
      await post(handler, { query: "stall" }),
      await post(handler, { query: "overflow" }),
    ];
    await until(() => handler.stats().active.readers === 0, 5000, "both are dropped");
    await stalled.body?.cancel().catch(() => {}); // it was broken off
  });
  const series = 'spillway_streams_total{model="spillway",outcome=';
  assert.equal(grown(`${series}"cancelled",code="stalled"}`), 1);
  assert.equal(grown(`${series}"failed",code="overflow"}`), 1);
});

test("a label never has two samples, and a count is there before it is counted", async () => {
  const handler = handlerOf();
  const response = await handler.fetch(new Request(`${url}/metrics`));
  const lines = (await response.text()).trimEnd().split("\n");
  const names = lines.filter((line) => !line.startsWith("#")).map((line) =>
    line.slice(0, line.lastIndexOf(" "))
  );
  assert.equal(new Set(names).size, names.length);
  const types = lines.filter((line) => line.startsWith("# TYPE ")).map((line) =>
    line.split(" ")[2]!
  );
  assert.equal(new Set(types).size, types.length);
  for (const name of names) {
    const [family] = /^\w+/.exec(name)!;
    assert(
      types.includes(family.replace(/_(?:bucket|sum|count)$/, "")) || types.includes(family),
      name,
    );
  }
  assert(names.includes('spillway_upstream_errors_total{kind="unreachable"}'));
  assert(names.includes("spillway_store_outages_total"));
});

test("the end of a stream and a rejected request are published on diagnostics channels", async () => {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): typeof import("node:diagnostics_channel") };
  };
  const channels = process.getBuiltinModule("node:diagnostics_channel");
  const seen: [string, Record<string, unknown>][] = [];
  const hear = (message: unknown, name: string | symbol) => {
    seen.push([String(name), message as Record<string, unknown>]);
  };
  const names = ["spillway:stream:end", "spillway:request:reject", "spillway:resume"];
  for (const name of names) channels.subscribe(name, hear);
  const handler = handlerOf();
  await (await post(handler, { query: "" }, "/streaming", { "x-mark": "1" })).text();
  assert.equal((await post(handler, "no JSON")).status, 400);
  assert.equal((await handler.fetch(new Request(`${url}/streaming/unknown`))).status, 404);
  for (const name of names) channels.unsubscribe(name, hear);
  await (await post(handler, { query: "" })).text();
  assert.deepEqual(seen.map(([name]) => name), [
    "spillway:stream:end",
    "spillway:request:reject",
    "spillway:resume",
    "spillway:request:reject",
  ]);
  const [end, reject, resume] = seen.map(([, message]) => message);
  const { request, model, report } = end as {
    request: Request;
    model: string;
    report: { tokens: number };
  };
  assert.deepEqual([request.headers.get("x-mark"), model, report.tokens], ["1", "spillway", 2]);
  assert.equal(reject!.code, "bad_request");
  assert.equal(resume!.result, "not_found");
});
