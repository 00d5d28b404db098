/**
 * `bun run soak [runtime] [streams] [minutes] [seed]`: so many streams at once for so long, by default 100
 * for 20 minutes on Bun. The upstream breaks in every way, and the connections of the clients are cut. Each
 * text must be exact, or its beginning with a failure that has a name. Ends with a verdict.
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import process from "node:process";
import { decodeEvents } from "../../lib/sse/decode_events.ts";
import { type Child, DENO_RUN, startChild, total } from "../support/child.ts";
import { HOSTILE, int, pick, random } from "../support/random.ts";
import { DEPARTURES, until } from "../support/serve.ts";
import { startMock } from "../support/upstream/mock.ts";
import { sleep } from "./support/context.ts";

const [runtime = "bun", streams = "100", minutes = "20", seed = "1"] = process.argv.slice(2);
const chance = random(Number(seed));
const MIB = 2 ** 20;

/** Upstreams whose answer is whole, however odd, and those that break. */
const WHOLE =
  "plain comments crlf crlf-split cr bom no-space many-lines fields empty-events bytes " +
  "slow?delayMs=20 after-done no-done";
const BROKEN =
  "die-head die-before-first die-fin die-rst die-between rst-at-once hang-head hang-body " +
  "hang-first hang-middle short-length bad-chunk no-end garbage-http garbage-body error-object " +
  "error-event html json huge-503 hang-500";
const whole = WHOLE.split(" ");
const broken = BROKEN.split(" ");

/** Passes bytes on, and cuts some connections at any byte, or holds them for a while. */
function startProxy(port: number): Promise<number> {
  const server = createServer((client) => {
    const there = connect(port, "127.0.0.1");
    let left = chance() < 0.5 ? Infinity : int(chance, 6000);
    const how = pick(chance, DEPARTURES);
    const end = () => [client, there].forEach((socket: Socket) => socket[how]());
    for (const socket of [client, there]) socket.on("error", () => {}); // A cut is one.
    client.on("data", (data) => there.write(data));
    client.on("close", () => there.destroy());
    there.on("close", () => client.end());
    there.on("data", (data: Buffer) => {
      if (left <= 0) return;
      client.write(data.subarray(0, left));
      left -= data.length;
      if (left <= 0) end();
      else if (chance() < 0.02) {
        there.pause();
        setTimeout(() => there.resume(), int(chance, 500));
      }
    });
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

const ends: Record<string, number> = {};
const violations: string[] = [];
let count = 0;

/** Aborts when nothing has come for 20 s, not even a heartbeat. */
class Patience {
  readonly #abort = new AbortController();
  readonly signal: AbortSignal = this.#abort.signal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.heard();
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#abort.abort(), 20_000);
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  /** The same bytes, each of which is heard. */
  listen(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
    return body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => {
          this.heard();
          controller.enqueue(chunk);
        },
      }),
    );
  }
}

/** One answer, with as many connections as it takes. */
async function readOne(url: string): Promise<void> {
  const isWhole = chance() < 0.6;
  const model = pick(chance, isWhole ? whole : broken);
  const words = Array.from(
    { length: 5 + int(chance, 100) },
    (_, at) => `${at}${pick(chance, HOSTILE).toWellFormed()}`,
  );
  const text = words.join(" ");
  const body = JSON.stringify({ query: `${model} ${text}` });
  let got = "";
  let id = "";
  const say = (end: string) => ends[end] = (ends[end] ?? 0) + 1;
  for (let attempt = 0; attempt < 60; attempt++) {
    const patience = new Patience();
    const { signal } = patience;
    try {
      const response = id === ""
        ? await fetch(`${url}/streaming`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body,
          signal,
        })
        : await fetch(`${url}/streaming/${id.replace(/\.\d+$/, "")}`, {
          headers: { "last-event-id": id },
          signal,
        });
      if (response.status === 204) {
        if (got !== text) violations.push(`${model}: 204 after ${got.length} of ${text.length}`);
        return void say("ended");
      }
      if (response.status !== 200) {
        const { code } = await response.json() as { code?: string };
        if (code === undefined) violations.push(`${model}: ${response.status} without a code`);
        if (isWhole) violations.push(`${model}: ${response.status} ${code}`);
        return void say(`${response.status} ${code}`);
      }
      for await (const event of decodeEvents(patience.listen(response.body!))) {
        if (event.lastEventId !== "") id = event.lastEventId;
        const data = JSON.parse(event.data);
        if (event.event === "failed") {
          if (isWhole) violations.push(`${model}: failed with ${data.code}`);
          if (!data.code) violations.push(`${model}: a failure without a code`);
          if (!text.startsWith(got)) violations.push(`${model}: ${JSON.stringify(got)}`);
          return void say(`failed ${data.code}`);
        }
        if (event.event === "done") {
          if (got !== text) violations.push(`${model}: done, ${got.length} of ${text.length}`);
          return void say("done");
        }
        got += data.token ?? "";
      }
    } catch {
      if (signal.aborted) violations.push(`${model}: silence for 20 s`);
      // It was cut. Without an id there is nothing to come back with.
      if (id === "") got = "";
    } finally {
      patience.end();
    }
    await sleep(int(chance, 50));
  }
  violations.push(`${model}: no end after 60 connections`);
}

const mock = await startMock();
const script = "tests/attacks/soak_server.ts";
const args = runtime === "deno"
  ? [...DENO_RUN, "--v8-flags=--expose-gc", script]
  : runtime === "node"
  ? ["--expose-gc", script]
  : [script];
const child: Child = startChild(runtime as "bun", args, {
  ATTACK: JSON.stringify({ upstream: mock.url }),
});
await until(() => /^port \d+$/m.test(child.output), 20_000, `a server: ${child.errors}`);
const port = Number(/^port (\d+)$/m.exec(child.output)![1]);
const proxy = `http://127.0.0.1:${await startProxy(port)}`;
const report = async () => {
  const headers = { "x-control": "report" };
  return await (await fetch(`http://127.0.0.1:${port}/`, { headers })).json();
};

const endMs = performance.now() + Number(minutes) * 60_000;
let told = performance.now();
const heaps: number[] = [];
async function work(): Promise<void> {
  while (performance.now() < endMs && violations.length < 20) {
    await readOne(proxy);
    count++;
  }
}
const watch = setInterval(async () => {
  if (performance.now() - told < Math.min(60_000, Number(minutes) * 10_000)) return;
  told = performance.now();
  const { rssBytes, heapBytes } = await report();
  heaps.push(heapBytes);
  const left = Math.round((endMs - told) / 1000);
  console.log(
    `  ${count} texts, ${violations.length} violations, heap ${Math.round(heapBytes / MIB)} MiB, ` +
      `RSS ${Math.round(rssBytes / MIB)} MiB; ${left} s are left`,
  );
}, 500);
await Promise.all(Array.from({ length: Number(streams) }, work));
clearInterval(watch);
// What clients have left goes on for its grace, and is kept for as long again.
await sleep(6000);
let last = await report();
for (let tries = 0; tries < 50 && total(last.active) > 0; tries++) {
  await sleep(200);
  last = await report();
}
if (total(last.active) > 0) violations.push(`open: ${JSON.stringify(last.active)}`);
violations.push(...last.thrown);
if (child.errors !== "") violations.push(`stderr: ${child.errors.slice(0, 1000)}`);
await child.stop();
await mock.close();
console.log(Object.entries(ends).map(([end, many]) => `  ${end}: ${many}`).join("\n"));
for (const violation of violations.slice(0, 20)) console.log(`  VIOLATION ${violation}`);
const heap = heaps.map((bytes) => Math.round(bytes / MIB)).join(", ");
console.log(`${runtime}: ${count} texts, ${violations.length} violations, heap ${heap} MiB`);
process.exit(violations.length === 0 && count > 0 ? 0 : 1);
