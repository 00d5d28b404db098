/**
 * Two processes of one machine and one replay file, and everything that a deploy or an accident does to
 * them, on each runtime: `npm run test:workers`, with progress. It needs nginx.
 */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import test, { after, before } from "node:test";
import { stop } from "../support/entry_streams.ts";
import { listen } from "../support/free_port.ts";
import { int, random } from "../support/random.ts";
import { newFile } from "../support/replay_file.ts";
import { type Site, startBehindNginx, startParallel, startWorkers } from "./one_machine.ts";
import { type Reading, readThrough } from "./reader.ts";

const STREAMS = 100;
/** With a token every 40 ms a stream takes 10 s. */
const TOKENS = 250;
const TOKEN_MS = 40;
const CUTS = 500;
const STOPS = 20;
/** Readers that lost their process have the whole log within 12 s; the rest is a busy machine's. */
const LOST_MS = 16_000;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const tell = (text: string) => console.log(`  ${text}`);
/** A text that no other stream has, so that one that is mixed up shows. */
const textOf = (name: string, length: number) =>
  `${name}:${"スピルウェイ and more ".repeat(length)}`.slice(0, length);

/** A model that echoes, and knows how often it was asked for what. */
const starts = new Map<string, number>();
const model = createServer(async (request: IncomingMessage, response: ServerResponse) => {
  let body = "";
  for await (const data of request.setEncoding("utf8")) body += data;
  const text: string = JSON.parse(body).messages.at(-1).content;
  starts.set(text, (starts.get(text) ?? 0) + 1);
  response.writeHead(200, { "content-type": "text/event-stream" });
  const send = (delta: object, finish: string | null) =>
    response.write(
      `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`,
    );
  const startMs = performance.now();
  for (const [i, content] of [...text].entries()) {
    if (response.destroyed) return;
    send({ content }, null);
    await sleep(Math.max(0, startMs + (i + 1) * TOKEN_MS - performance.now()));
  }
  send({}, "stop");
  response.end("data: [DONE]\n\n");
});

let environment: Record<string, string>;
before(async () => {
  const baseURL = `http://127.0.0.1:${await listen(model)}/v1`;
  environment = {
    OPENAI_BASE_URL: baseURL,
    OPENAI_API_KEY: "key",
    OPENAI_MODEL: "echo",
    LOG: "json",
    // On a busy machine as well.
    DRAIN_TIMEOUT_MS: "120000",
  };
});
after(() => {
  model.closeAllConnections();
  model.close();
});

const shared = (more: Record<string, string> = {}) => ({
  ...environment,
  REPLAY_FILE: newFile(),
  ...more,
});

/** Starts streams, a few at a time, and hands on how each is read to its end. */
async function begin(url: string, name: string, count = STREAMS): Promise<Promise<Reading>[]> {
  const readings: Promise<Reading>[] = [];
  while (readings.length < count) {
    const query = textOf(`${name} ${readings.length}`, TOKENS);
    readings.push(readThrough(url, query, undefined, url, crypto.randomUUID()));
    await sleep(10);
  }
  return readings;
}

/** Each text is whole, or an honest beginning; each source was started once. Returns how many are whole. */
function check(name: string, readings: readonly Reading[]): number {
  let whole = 0;
  for (const [i, { text, end }] of readings.entries()) {
    const query = textOf(`${name} ${i}`, TOKENS);
    assert.equal(starts.get(query), 1, `${name} ${i}: its source was started once`);
    if (end === "done") {
      whole++;
      assert.equal(text, query, `${name} ${i}`);
      continue;
    }
    assert.equal(end, "producer_lost", `${name} ${i} after ${text.length} characters`);
    assert(text !== "" && query.startsWith(text), `${name} ${i}: ${text}`);
  }
  return whole;
}

const patient = { timeout: 240_000 };
const sites: Record<string, (more?: Record<string, string>) => Promise<Site>> = {
  "two workers on Bun": (more) => startWorkers("bun", shared(more)),
  "two workers on Node": (more) => startWorkers("node", shared(more)),
  "two deno serve behind nginx": (more) => startBehindNginx(shared(more)),
};

for (const [name, start] of Object.entries(sites)) {
  test(`${name}: each is replaced under ${STREAMS} streams of 10 s`, patient, async () => {
    const site = await start();
    try {
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        for (const which of [0, 1] as const) {
          const run = `${name}, ${signal} to ${which + 1}`;
          const readings = await begin(site.url, run);
          await sleep(2000);
          const fromMs = performance.now();
          const replaced = site.replace(which, signal);
          const done = await Promise.all(readings);
          const tookMs = performance.now() - fromMs;
          await replaced;
          const whole = check(run, done);
          const resumes = done.reduce((sum, { resumes }) => sum + resumes, 0);
          tell(
            `${run}: ${whole} whole, ${STREAMS - whole} producer_lost, ${resumes} resumes, ` +
              `${(tookMs / 1000).toFixed(1)} s`,
          );
          if (signal === "SIGTERM") assert.equal(whole, STREAMS);
          else {
            assert(whole > 0 && whole < STREAMS, `${whole} of ${STREAMS} are whole`);
            assert(tookMs < LOST_MS, `${tookMs.toFixed()} ms`);
          }
        }
      }
    } finally {
      await site.stop();
    }
  });

  test(
    `${name}: all are killed and started again, within keepMs and after it`,
    patient,
    async () => {
      const keepMs = 30_000;
      const site = await start({ KEEP_MS: String(keepMs) });
      try {
        const run = `${name}, restarted`;
        const ended = await Promise.all(
          Array.from({ length: 10 }, (_, i) => readThrough(site.url, textOf(`${run} ${i}`, 20))),
        );
        const endedMs = performance.now();
        const live = await begin(site.url, run, 10);
        await sleep(2000);
        await site.restart();
        const join = (id: string) => fetch(`${site.url}/streaming/${id}`);
        for (const { streamId, text } of ended) {
          const again = await (await join(streamId!)).text();
          const tokens = [...again.matchAll(/^data: \{"token":(.*)\}$/gm)];
          assert.equal(tokens.map(([, token]) => JSON.parse(token!)).join(""), text);
          assert.match(again, /^event: done$/m);
        }
        assert.equal(check(run, await Promise.all(live)), 0);
        tell(`${run}: 10 ended streams whole, 10 cut ones producer_lost`);
        await sleep(endedMs + keepMs + 2000 - performance.now());
        for (const { streamId } of ended) {
          const response = await join(streamId!);
          assert.equal(response.status, 404);
          await response.body?.cancel();
        }
      } finally {
        await site.stop();
      }
    },
  );
}

const everywhere: typeof sites = {
  ...sites,
  "deno serve --parallel": async () => {
    const { url, child } = await startParallel(shared());
    const never = () => Promise.reject(new Error("It is one process"));
    return { url, replace: never, restart: never, stop: () => child.stop() };
  },
};

for (const [name, start] of Object.entries(everywhere)) {
  test(`${name}: ${CUTS} random cuts, resumed by any of them`, patient, async () => {
    const site = await start();
    const chance = random(23);
    try {
      let cuts = 0;
      for (let round = 0; cuts < CUTS; round++) {
        const cut = () => 1 + int(chance, 40);
        const queries = Array.from({ length: 50 }, (_, i) => textOf(`${name} ${round} ${i}`, 60));
        const done = await Promise.all(
          queries.map((query) => readThrough(site.url, query, cut, site.url, crypto.randomUUID())),
        );
        for (const [i, { text, end, resumes }] of done.entries()) {
          assert.deepEqual([end, text], ["done", queries[i]]);
          assert.equal(starts.get(queries[i]!), 1, "its source was started once");
          cuts += resumes;
        }
        tell(`${name}: ${cuts} of ${CUTS} cuts`);
      }
    } finally {
      await site.stop();
    }
  });

  test(`${name}: a stop by any of them takes less than 200 ms`, patient, async () => {
    const site = await start();
    try {
      const times: number[] = [];
      while (times.length < STOPS) times.push(await stop(site.url));
      times.sort((a, b) => a - b);
      tell(
        `${name}: a stop takes ${times[STOPS / 2]!.toFixed()} ms, ${
          times.at(-1)!.toFixed()
        } at most`,
      );
      assert(times.at(-1)! < 200, `${times.map((ms) => ms.toFixed())} ms`);
    } finally {
      await site.stop();
    }
  });
}
