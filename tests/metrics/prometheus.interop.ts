/**
 * Debian's Prometheus scrapes a loaded server, and every query of `docs/metrics.md` and of the
 * dashboard has a result. It stands apart from the other tests because it needs `prometheus`
 * (`apt-get install prometheus`); `npm run test:metrics` runs it.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { createHandler } from "../../lib/handler.ts";
import { SharedLog } from "../../lib/replay/shared/shared_log.ts";
import type { SourceContext } from "../../lib/pipeline/pump.ts";
import { openai } from "../../lib/sources/openai.ts";
import { PATIENCE_MS, startChild } from "../support/child.ts";
import { FakeServer, FakeStore } from "../support/fake_store.ts";
import { dashboardQueries, pageConfig, pageQueries } from "../support/metrics_docs.ts";
import { freePort } from "../support/free_port.ts";
import { serve, until } from "../support/serve.ts";

const isThere = spawnSync("prometheus", ["--version"]).status === 0;
const skip = isThere ? undefined : "prometheus is not installed: apt-get install prometheus";
if (!isThere) console.log(`SKIPPED: ${skip}`);

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** An upstream: every third request is a 500, and the others answer in chunks. */
function startUpstream() {
  let requests = 0;
  const chunk = (content: string, finish_reason: string | null = null) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`;
  return serve(() => {
    if (++requests % 3 === 0) return new Response("{}", { status: 500 });
    const text = new TextEncoder();
    let left = 5;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        await sleep(10);
        controller.enqueue(text.encode(left > 0 ? chunk("word ") : chunk(".", "stop")));
        if (left-- === 0) controller.close();
      },
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  });
}

/** What every kind of client does, once. */
async function load(url: string): Promise<void> {
  const post = (path: string, body: string) =>
    fetch(`${url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
  const chat = (model: string) =>
    JSON.stringify({ model, stream: true, messages: [{ role: "user", content: "Hello" }] });
  const query = (text: string) => JSON.stringify({ query: text });
  const read = async (response: Promise<Response>) => void await (await response).text();
  const resume = async () => {
    const first = await post("/streaming", query("Hello"));
    const id = first.headers.get("x-stream-id");
    await first.text();
    await read(fetch(`${url}/streaming/${id}`, { headers: { "last-event-id": `${id}.1` } }));
  };
  const leave = async () => {
    const { body } = await post("/streaming", query("long"));
    const reader = body!.getReader();
    await reader.read();
    await reader.cancel();
  };
  await Promise.all([
    read(post("/streaming", query("Hello"))),
    read(post("/streaming", query("fail"))),
    read(post("/streaming?format=ndjson", query("flood"))),
    read(post("/streaming", "no JSON")),
    read(post("/streaming", query("x".repeat(5000)))),
    read(post("/v1/chat/completions", chat("relayed"))),
    read(post("/v1/chat/completions", chat("unknown"))),
    read(fetch(`${url}/streaming/unknown`)),
    resume(),
    leave(),
  ]);
}

interface Result {
  status: string;
  error?: string;
  data: { result: { metric: Record<string, string>; value: [number, string] }[] };
}

test(
  "every query has a result in a Prometheus that scrapes a loaded server",
  { skip },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "spillway-prometheus-"));
    const upstream = startUpstream();
    const store = new FakeServer();
    const log = new SharedLog(new FakeStore(store), { onError: () => {} });
    const slow = async function* (input: { query: string }) {
      for (let i = 0; i < (input.query === "long" ? 500 : 10); i++) {
        yield `${i} `;
        await sleep(10);
        if (input.query === "fail") throw new Error("broken");
      }
    };
    // Sent at once and to a client without a log, this is more than may wait.
    const answer = ({ input, queue }: SourceContext<{ query: string }>) => {
      if (input.query !== "flood") return slow(input);
      for (let i = 0; i < 2000; i++) queue.send("x".repeat(1000));
    };
    const source = openai({ baseURL: `${upstream.url}/v1`, model: "m", retries: 1 });
    const handler = createHandler({
      models: { slow: answer, relayed: source } as never,
      log,
      disconnect: "cancel",
      limits: { maxBodyBytes: 4096 },
      onError: () => {},
    });
    const server = serve(handler.fetch);
    const port = await freePort();
    const config = join(folder, "prometheus.yml");
    // As the page has it, with the server's own address.
    assert(pageConfig.includes("127.0.0.1:8000"));
    const scraping = pageConfig.replace("127.0.0.1:8000", `127.0.0.1:${server.port}`);
    writeFileSync(config, `global: { scrape_interval: 1s, scrape_timeout: 1s }\n${scraping}`);
    const prometheus = startChild("sh", [
      "-c",
      `exec prometheus --config.file=${config} --storage.tsdb.path=${folder}/data --web.listen-address=127.0.0.1:${port}`,
    ]);
    const ask = async (query: string): Promise<Result> => {
      const parameters = new URLSearchParams({ query });
      const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?${parameters}`);
      return await response.json() as Result;
    };
    const isUp = async () => {
      try {
        const { data } = await ask("spillway_tokens_total");
        return data.result.length > 0;
      } catch {
        return false; // it has not begun to listen
      }
    };
    try {
      for (let tries = 0; !await isUp(); tries++) {
        assert(tries < 300 && prometheus.exit === undefined, `no scrape: ${prometheus.errors}`);
        await sleep(100);
      }
      for (let round = 0; round < 12; round++) {
        console.log(`load ${round + 1}/12`);
        await load(server.url);
        if (round === 5) {
          store.kill();
          await until(() => log.health() === "degraded", 10_000, "the outage is noticed");
          store.start(true);
          await until(() => log.health() === "ok", 20_000, "the store is back");
        }
        await sleep(400);
      }
      const open = await fetch(`${server.url}/streaming`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"query":"long"}',
      });
      await sleep(2500);
      const seen = new Map<string, number[]>();
      for (const query of new Set([...pageQueries, ...dashboardQueries])) {
        const { status, error, data } = await ask(query);
        assert.equal(status, "success", `${query}: ${error}`);
        const values = data.result.map(({ value }) => Number(value[1]));
        assert(values.length > 0, `${query} has no result`);
        // A label that had no stream yet has a rate of 0, and the quantile of nothing is NaN.
        assert(values.some(Number.isFinite), `${query}: ${values}`);
        seen.set(query, values);
        console.log(`${values.map((value) => Number(value.toPrecision(3)))}  ${query}`);
      }
      await open.body!.cancel();
      // What happened shows: the queries are not only well formed.
      const over0 = (part: string) => {
        const [query] = [...seen.keys()].filter((query) => query.includes(part));
        assert(query !== undefined && seen.get(query)!.some((value) => value > 0), query ?? part);
      };
      for (
        const part of [
          "first_token",
          "per_output_token",
          'outcome="failed"',
          "tokens_total",
          "rejected_requests",
          "rejected_bodies",
          "resumes_total",
          "overflow",
          "spillway_active",
          "log_bytes",
          "write_interval",
          "store_outages",
          "store_call_duration",
          "upstream_errors",
          "upstream_retries",
          "first_chunk",
          "output_chunk",
        ]
      ) over0(part);
      const { data } = await ask('spillway_streams_total{model!~"slow|relayed"}');
      assert.deepEqual(data.result, []);
      const text = await (await fetch(`${server.url}/metrics`)).text();
      const checked = spawnSync("promtool", ["check", "metrics"], { input: text });
      assert.equal(checked.status, 0, String(checked.stderr) + String(checked.stdout));
    } finally {
      prometheus.kill("SIGTERM");
      await until(() => prometheus.exit !== undefined, PATIENCE_MS, "Prometheus has ended");
      await handler.drain({ timeoutMs: 0 });
      await log.close();
      await server.close();
      await upstream.close();
      rmSync(folder, { recursive: true });
    }
  },
);
