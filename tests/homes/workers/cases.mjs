/**
 * What every stream has to be where turns and timers belong to a request: one client, over real
 * sockets, with its own reading of the wire.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { tried } from "../support/judge.mjs";
import { HOSTILE } from "./hostile.js";

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let names = 0;

/** Asks, over a connection of its own, and reads to the end or until `enough(text)`. */
export function ask(url, query, { headers = {}, enough } = {}) {
  return new Promise((resolve, reject) => {
    const address = new URL(query.at ?? "", url);
    address.search = new URLSearchParams(query);
    const request = http.get(address, { agent: false, headers }, (response) => {
      const chunks = [];
      let text = "";
      const decoder = new TextDecoder();
      response.on("data", (data) => {
        const part = decoder.decode(data, { stream: true });
        chunks.push({ text: part, atMs: Date.now() });
        text += part;
        if (enough?.(text)) request.destroy();
      });
      response.on("error", () => {});
      response.on("close", () => {
        const { statusCode: status, headers } = response;
        resolve({ status, headers, text, chunks, leftMs: Date.now() });
      });
    });
    request.on("error", reject);
  });
}

/** The events of a body: no more of the standard than our wire uses. */
function eventsOf(text) {
  return text.split("\n\n").slice(0, -1).map((block) =>
    Object.fromEntries(
      [...block.matchAll(/^(\w+): (.*)$/gm)].map((
        [, name, value],
      ) => [name, value]),
    )
  ).filter(({ data }) => data !== undefined);
}

const tokensOf = (text) =>
  eventsOf(text).filter(({ event }) => event === undefined).map(({ data }) =>
    JSON.parse(data).token
  );

/** What every stream of a home has to be, each time. */
export const CASES = {
  async "a burst is exact"(url) {
    const { status, headers, text } = await ask(url, { case: "burst" });
    assert.deepEqual([status, headers.incremental], [200, "?1"]);
    const wanted = Array.from(
      { length: 5000 },
      (_, i) => HOSTILE[i % HOSTILE.length],
    ).join("");
    assert.equal(tokensOf(text).join(""), wanted);
    assert.equal(eventsOf(text).at(-1).event, "done");
  },
  async "a failure before the first token is a status"(url) {
    const { status, text } = await ask(url, { case: "failing" });
    assert.equal(status, 502);
    assert.equal(JSON.parse(text).code, "upstream_failed");
  },
  async "a failure after it is told in the stream"(url) {
    const { status, text } = await ask(url, { case: "breaking" });
    assert.equal(status, 200);
    assert.deepEqual(tokensOf(text), ["half"]);
    assert.equal(eventsOf(text).at(-1).event, "failed");
  },
  async "paced tokens come one by one, when they are sent"(url) {
    const { text, chunks } = await ask(url, { case: "paced" });
    assert.equal(tokensOf(text).length, 20);
    const delays = chunks.flatMap(({ text, atMs }) =>
      tokensOf(text).map((sent) => atMs - Number(sent))
    );
    assert.ok(
      chunks.filter(({ text }) => text.includes("token")).length >= 12,
      `${chunks.length} chunks`,
    );
    const half = delays.sort((a, b) => a - b)[delays.length >> 1];
    assert.ok(half <= 60, `half of the tokens take ${half} ms and more`);
  },
  async "silence has heartbeats, and the text goes on"(url) {
    const { text } = await ask(url, { case: "silent" });
    assert.deepEqual(tokensOf(text), ["before", "after"]);
    const silence = text.slice(text.indexOf("before"), text.indexOf("after"));
    const heartbeats = silence.split(/^:$/m).length - 1;
    assert.ok(heartbeats >= 3, `${heartbeats} heartbeats in 2.5 s`);
  },
  "a client that leaves is told to a source that writes": (url) =>
    tried("writing", () => departs(url, "writing", 1000)),
  // The runtime notices with the next heartbeat.
  "a client that leaves is told to a source that waits": (url) =>
    tried("waiting", () => departs(url, "waiting", 1500)),
};

async function told(url, name, at) {
  const query = { case: "told", of: name, ...at === undefined ? {} : { at } };
  return JSON.parse(tokensOf((await ask(url, query)).text)[0]);
}

async function departs(url, kind, limitMs) {
  const name = `${kind}-${++names}`;
  const { leftMs } = await ask(url, { case: kind, name }, {
    enough: (text) => text.includes("token"),
  });
  let left = null;
  while (left === null && Date.now() - leftMs < limitMs + 500) {
    await pause(50);
    ({ left } = await told(url, name));
  }
  assert.ok(
    left !== null && left - leftMs <= limitMs,
    `told after ${left - leftMs} of ${limitMs} ms`,
  );
}

/** Leaves in the middle, comes back with the last id, and has all of it once. */
export async function resumes(url, { at, waitMs }) {
  const name = `counting-${++names}`;
  const query = { case: "counting", name, at };
  const first = await ask(url, query, {
    enough: (text) => tokensOf(text).length >= 5,
  });
  await pause(waitMs);
  const seen = eventsOf(first.text);
  const rest = await ask(url, query, {
    headers: { "last-event-id": seen.at(-1).id },
  });
  const all = [...tokensOf(first.text), ...tokensOf(rest.text)];
  assert.deepEqual(all, Array.from({ length: 30 }, (_, i) => `${i} `));
  assert.equal(eventsOf(rest.text).at(-1).event, "done");
  assert.equal((await told(url, name, at)).runs, 1, "the source ran once");
}

/** A hundred streams that begin one after the other and overlap, and one after them. */
export async function overlaps(url) {
  // A hundred at once delay each other: the paced ones are read by their text alone.
  const checks = Object.entries(CASES).filter(([name]) => !name.includes("paced"))
    .map(([, check]) => check);
  const streams = Array.from({ length: 100 }, async (_, i) => {
    await pause(i * 3);
    if (i % 5 !== 4) {
      const { status, text } = await ask(url, {
        case: i % 2 ? "paced" : "counting",
      });
      assert.equal(status, 200);
      assert.equal(tokensOf(text).length, i % 2 ? 20 : 30);
      assert.equal(eventsOf(text).at(-1).event, "done");
    } else await checks[(i >> 2) % checks.length](url);
  });
  await Promise.all(streams);
  await CASES["paced tokens come one by one, when they are sent"](url);
}
