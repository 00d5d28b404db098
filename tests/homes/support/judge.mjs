/** What is asked of a server in a home: one client, over real sockets, with its own reading of the wire. */
import assert from "node:assert/strict";
import http from "node:http";
import { StringDecoder } from "node:string_decoder";
import { createGunzip } from "node:zlib";
import { HOSTILE } from "./hostile.js";

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** What a departure may take, in ms, where a home has no limit of its own. */
const DEPARTURE_MS = 1000;
let names = 0;

/** A response as it comes: its chunks with their times, and its end. */
class Client {
  chunks = [];
  ended = Promise.withResolvers?.() ?? deferred();
  changed = deferred();

  constructor(url, { method = "GET", headers = {}, body } = {}) {
    this.request = http.request(url, {
      method,
      agent: false,
      headers: {
        accept: "text/event-stream",
        "accept-encoding": "gzip, br, zstd",
        ...headers,
      },
    });
    this.response = new Promise((resolve, reject) => {
      this.request.on("response", resolve);
      this.request.on("error", reject);
    });
    this.response.catch(() => {}); // who waits for it is told
    this.request.end(body);
  }

  /** Takes what comes from now on. */
  async read() {
    const response = await this.response;
    const decoder = new StringDecoder("utf8");
    const isGzip = response.headers["content-encoding"] === "gzip";
    const body = isGzip ? response.pipe(createGunzip()) : response;
    body.on("data", (data) => {
      this.chunks.push({ text: decoder.write(data), atMs: Date.now() });
      this.changed.resolve();
      this.changed = deferred();
    });
    body.on("end", () => this.ended.resolve());
    response.on("error", (error) => this.ended.reject(error));
    body.on("error", (error) => this.ended.reject(error));
    response.on("close", () => {
      if (!response.complete) this.ended.reject(new Error("the body was cut off"));
    });
    this.ended.promise.catch(() => {}); // who waits for it is told
    return response;
  }

  async all() {
    const response = await this.read();
    await this.ended.promise;
    return response;
  }

  async until(text) {
    while (!this.text.includes(text)) await this.changed.promise;
  }

  get text() {
    return this.chunks.map(({ text }) => text).join("");
  }

  leave() {
    this.response.then((response) => response.on("error", () => {}), () => {});
    this.request.on("error", () => {});
    this.request.destroy();
    return Date.now();
  }
}

function deferred() {
  let resolve, reject;
  const promise = new Promise((yes, no) => [resolve, reject] = [yes, no]);
  return { promise, resolve, reject };
}

/** The events of a stream: no more of the standard than our wire uses. */
function eventsOf(text) {
  return text.split("\n\n").slice(0, -1).map((block) => {
    const event = { event: "message", data: "", id: undefined };
    for (const line of block.split("\n")) {
      const [, field, value] = /^(\w+): (.*)$/s.exec(line) ?? [];
      if (field !== undefined) event[field] = value;
    }
    return event;
  }).filter(({ data }) => data !== "");
}

const tokensOf = (events) =>
  events.filter(({ event }) => event === "message").map(({ data }) => JSON.parse(data).token);

/** Each check gets the address of the route and the server's process. */
export const CHECKS = {
  async "the text is exact, and says that it must not be buffered"(
    { url, encoding },
  ) {
    const client = new Client(`${url}?case=hostile`);
    const { statusCode, headers } = await client.all();
    assert.equal(statusCode, 200);
    assert.match(headers["content-type"], /^text\/event-stream/);
    assert.match(headers["cache-control"], /no-transform/);
    assert.equal(headers["content-encoding"], encoding);
    const events = eventsOf(client.text);
    assert.equal(tokensOf(events).join(""), HOSTILE.join(""));
    assert.equal(events.at(-1).event, "done");
  },

  async "the body of a POST reaches the source"({ url }) {
    const body = JSON.stringify({
      query: "日本語 🌊",
      filler: "x".repeat(50_000),
    });
    const headers = { "content-type": "application/json" };
    const client = new Client(`${url}?case=body`, {
      method: "POST",
      headers,
      body,
    });
    await client.all();
    const text = tokensOf(eventsOf(client.text)).join("");
    // A parser that came first may have changed its spaces.
    assert.deepEqual(text === "" ? text : JSON.parse(text), JSON.parse(body));
  },

  async "paced tokens come one by one, when they are sent"({ url }) {
    const client = new Client(`${url}?case=paced`);
    await client.all();
    const arrivals = client.chunks.flatMap(({ text, atMs }) =>
      [...text.matchAll(/"token":"(\d+)"/g)].map(([, sent]) => atMs - Number(sent))
    );
    assert.equal(arrivals.length, 40);
    const delays = arrivals.sort((a, b) => a - b);
    // With room for a machine that is busy: one that gathers them for 200 ms is far beyond both.
    assert.ok(delays[20] <= 50, `half of them take ${delays[20]} ms and more`);
    const chunks = client.chunks.filter(({ text }) => text.includes("token"));
    assert.ok(chunks.length >= 24, `40 tokens in ${chunks.length} chunks`);
  },

  async "what fails before the first token is a status"({ url }) {
    // A framework may compress what is no stream.
    const asked = { "accept-encoding": "identity" };
    const client = new Client(`${url}?case=failing`, { headers: asked });
    const { statusCode, headers } = await client.all();
    assert.equal(statusCode, 502);
    assert.match(headers["content-type"], /problem\+json/);
    assert.equal(JSON.parse(client.text).code, "upstream_failed");
  },

  async "what fails later is told in the stream"({ url }) {
    const client = new Client(`${url}?case=breaking`);
    await client.all();
    const events = eventsOf(client.text);
    assert.deepEqual(tokensOf(events), ["half"]);
    assert.equal(events.at(-1).event, "failed");
  },

  async "a client that comes back gets the rest, exactly"({ url }) {
    const client = new Client(`${url}?case=hostile`);
    await client.all();
    const events = eventsOf(client.text);
    assert.equal(new Set(events.map(({ id }) => id)).size, events.length);
    const headers = { "last-event-id": events[4].id };
    const again = new Client(`${url}?case=hostile`, { headers });
    await again.all();
    assert.deepEqual(eventsOf(again.text), events.slice(5));
  },

  async "silence has heartbeats, and the text goes on"({ url }) {
    const client = new Client(`${url}?case=silent`);
    await client.all();
    const silence = client.text.slice(
      client.text.indexOf("before"),
      client.text.indexOf("after"),
    );
    const heartbeats = silence.split(/^:\n/m).length - 1;
    assert.ok(heartbeats >= 3, `${heartbeats} heartbeats in 1.5 s`);
    assert.deepEqual(tokensOf(eventsOf(client.text)), ["before", "after"]);
  },

  "a client that leaves is told to a source that writes": (home) => departs(home, "writing"),
  "a client that leaves is told to a source that waits": (home) => departs(home, "waiting"),
  "a client that leaves is told to a source without a token": (home) => departs(home, "unborn"),
  // Without heartbeats and without a log.
  "a client of a bare stream that leaves is told": (home) =>
    departs(home, "writing", "application/x-ndjson"),

  async "a client that takes nothing stops the source"({ url, output }) {
    const name = `flood-${++names}`;
    const headers = { accept: "application/x-ndjson" };
    const client = new Client(`${url}?case=flood&name=${name}`, { headers });
    const response = await client.response;
    response.pause();
    const made = () => output().split(`flood ${name} `).length - 1;
    for (let before = -1, until = Date.now() + 6000; before !== made();) {
      assert.ok(Date.now() < until, `${made() / 16} MiB, and it goes on`);
      before = made();
      await sleep(500);
    }
    const mebibytes = made() / 16;
    client.leave();
    assert.ok(mebibytes > 0 && mebibytes <= 24, `${mebibytes} MiB`);
  },
};

async function departs(
  { url, output, limits = {} },
  kind,
  accept = "text/event-stream",
) {
  const name = `${kind}-${++names}`;
  const client = new Client(`${url}?case=${kind}&name=${name}`, {
    headers: { accept },
  });
  if (kind === "unborn") {
    await until(
      () => output().includes(`began ${name} `),
      5000,
      "the source has not begun",
    );
  } else {
    await client.read();
    await client.until("token");
  }
  const leftMs = client.leave();
  const limitMs = limits[kind] ?? DEPARTURE_MS;
  const told = () => new RegExp(`^.*left ${name} (\\d+)`, "m").exec(output());
  await until(
    () => told() !== null,
    limitMs + 500,
    `not told within ${limitMs} ms`,
  );
  const tookMs = Number(told()[1]) - leftMs;
  assert.ok(tookMs <= limitMs, `told after ${tookMs} ms`);
}

export async function until(condition, ms, otherwise) {
  for (const end = Date.now() + ms; !await condition();) {
    if (Date.now() > end) throw new Error(otherwise);
    await sleep(20);
  }
}

/**
 * Asks everything of a home, at once but for what measures time.
 *
 * @param home `known` has the checks that are known to fail there, with the reason: they have to.
 * @returns Name and error of each check.
 */
export async function judge(home) {
  const known = home.known ?? {};
  const results = new Map();
  async function ask(name) {
    try {
      await tried(name, () => within(CHECKS[name](home), 15_000), name in known ? 1 : 3);
      results.set(
        name,
        name in known
          ? new Error(`documented as a limit, and it works: ${known[name]}`)
          : undefined,
      );
    } catch (error) {
      results.set(name, name in known ? undefined : error);
    }
  }
  for (const name of Object.keys(known)) {
    if (!(name in CHECKS)) throw new Error(`no such check: ${name}`);
  }
  const all = Object.keys(CHECKS);
  const timed = all.filter((name) => /paced|takes nothing/.test(name));
  await Promise.all(all.filter((name) => !timed.includes(name)).map(ask));
  for (const name of timed) await ask(name);
  return all.map((name) => [name, results.get(name)]);
}

/** A neighbour may have had the processor: what fails is tried again. */
export async function tried(name, check, times = 3) {
  for (let left = times;; left--) {
    try {
      return await check();
    } catch (error) {
      if (left === 1) throw error;
      console.error(`Tried again: ${name}: ${error.message}`);
    }
  }
}

function within(promise, ms) {
  let timer;
  const late = new Promise((_, reject) =>
    timer = setTimeout(() => reject(new Error(`not over after ${ms} ms`)), ms)
  );
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
