/**
 * `bun run soak [runtime] [streams] [minutes] [seed]`: so many streams at once for so long, by default 100
 * for 20 minutes on Bun. The upstream breaks in every way, and the connections of the clients are cut. Each
 * text must be exact, or its beginning with a failure that has a name. On Bun and Deno a bare relay has the
 * same load beside it. After a quarter of the time and at the end the clients rest until nothing is open
 * or logged, and memory is compared after a collection. Ends with a verdict.
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import process from "node:process";
import { decodeEvents } from "../../lib/sse/decode_events.ts";
import { total } from "../support/child.ts";
import { HOSTILE, int, pick, random } from "../support/random.ts";
import { DEPARTURES } from "../support/serve.ts";
import { startMock } from "../support/upstream/mock.ts";
import { quantile, sleep } from "./support/context.ts";
import { type Figure, isMissed, lineOf, startLoad } from "./support/figure.ts";
import { type Runtime, startVictim, type State, type Victim } from "./support/victim.ts";

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

/** One answer, with as many connections as it takes, and the same one from the control. */
async function readBoth(): Promise<void> {
  const isWhole = chance() < 0.6;
  const model = pick(chance, isWhole ? whole : broken);
  const words = Array.from(
    { length: 5 + int(chance, 100) },
    (_, at) => `${at}${pick(chance, HOSTILE).toWellFormed()}`,
  );
  const text = words.join(" ");
  const body = JSON.stringify({ query: `${model} ${text}` });
  const asked: Asked = { model, text, body, isWhole };
  await Promise.all([readOne(asked), bareProxy && readBare(bareProxy, body)]);
}

interface Asked {
  readonly model: string;
  readonly text: string;
  readonly body: string;
  readonly isWhole: boolean;
}

/** The same request to the control, which cannot be resumed: whatever comes is right. */
async function readBare(url: string, body: string): Promise<void> {
  try {
    const headers = { "content-type": "application/json" };
    const signal = AbortSignal.timeout(20_000);
    const response = await fetch(`${url}/streaming`, { method: "POST", headers, body, signal });
    for await (const _ of response.body!);
  } catch {
    // It was cut, or its upstream broke.
  }
}

async function readOne({ model, text, body, isWhole }: Asked): Promise<void> {
  let got = "";
  let id = "";
  const say = (end: string) => ends[end] = (ends[end] ?? 0) + 1;
  for (let attempt = 0; attempt < 60; attempt++) {
    const patience = new Patience();
    const { signal } = patience;
    try {
      const response = id === ""
        ? await fetch(`${proxy}/streaming`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body,
          signal,
        })
        : await fetch(`${proxy}/streaming/${id.replace(/\.\d+$/, "")}`, {
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
const start = async (server: "soak_server" | "soak_bare_server") => {
  const victim = await startVictim(runtime as Runtime, { upstream: mock.url }, { server });
  return { victim, proxy: `http://127.0.0.1:${await startProxy(victim.port)}` };
};
const { victim, proxy } = await start("soak_server");
// The control has no adapter for Node.
const { victim: bare, proxy: bareProxy } = runtime === "node"
  ? {}
  : await start("soak_bare_server");

const totalMs = Number(minutes) * 60_000;

/** Whether the clients work, or rest. */
let isWorking = false;

/** Reads at all streams until a time. */
async function workUntil(endMs: number): Promise<void> {
  isWorking = true;
  await Promise.all(Array.from({ length: Number(streams) }, async () => {
    while (performance.now() < endMs && violations.length < 20) {
      await readBoth();
      count++;
    }
  }));
  isWorking = false;
}

/** What both servers hold at one moment, after a collection. */
interface Sample {
  readonly ours: State;
  readonly bare: State | undefined;
}

async function sample(): Promise<Sample> {
  const [ours, theirs] = await Promise.all(
    [victim, bare].map((server?: Victim) => server?.ask("collect")),
  );
  return { ours: ours!, bare: theirs };
}

const mib = (bytes: number) => Math.round(bytes / MIB);
const shown = ({ ours, bare }: Sample) =>
  `heap ${mib(ours.heapBytes)} MiB, RSS ${mib(ours.rssBytes)} MiB` +
  (bare === undefined
    ? ""
    : `; bare heap ${mib(bare.heapBytes)} MiB, RSS ${mib(bare.rssBytes)} MiB`);

/** Waits until nothing is open or logged: what clients have left goes on for a while, and is kept. */
async function rest(): Promise<Sample> {
  const deadline = performance.now() + 90_000;
  let found = await sample();
  while (
    (total(found.ours.active) > 0 || found.ours.logBytes > 0) && performance.now() < deadline
  ) {
    await sleep(500);
    found = await sample();
  }
  await sleep(1000);
  const rested = await sample();
  console.log(`  at rest: ${shown(rested)}`);
  return rested;
}

for (let at = 0; at < 20; at++) await readBoth(); // What machine code takes is no part of it.
const first = await rest();
const under: Sample[] = [];
const startedMs = performance.now();
const watch = setInterval(async () => {
  if (!isWorking) return;
  under.push(await sample());
  const left = Math.max(0, Math.round((startedMs + totalMs - performance.now()) / 1000));
  console.log(
    `  ${count} texts, ${violations.length} violations, ${
      shown(under.at(-1)!)
    }; ${left} s are left`,
  );
}, Math.min(60_000, totalMs / 6));
const endLoad = startLoad();
await workUntil(startedMs + totalMs / 4);
const early = await rest();
await workUntil(startedMs + totalMs);
const load = endLoad(runtime);
clearInterval(watch);
const last = await rest();
if (total(last.ours.active) > 0) violations.push(`open: ${JSON.stringify(last.ours.active)}`);
violations.push(...last.ours.thrown);
const { errors } = victim.child;
if (errors !== "") violations.push(`stderr: ${errors.slice(0, 1000)}`);
await Promise.all([victim, bare].map((server?: Victim) => server?.child.stop()));
await mock.close();

/** The middle of what was sampled after the first rest, under the same load, in MiB. */
const middle = (of: (sample: Sample) => number) =>
  quantile(under.slice(Math.floor(under.length / 4)).map(of), 0.5) / MIB;
/** Above what its code takes, and what the log is for. */
const above = ({ ours }: Sample) => ours.rssBytes - first.ours.rssBytes - ours.logBytes;
const bareAbove = ({ bare }: Sample) => bare!.rssBytes - first.bare!.rssBytes;
const figures: Figure[] = [
  { what: "texts", value: count, unit: "" },
  { what: "violations", value: violations.length, unit: "", limit: 0 },
  {
    what: "heap at rest, at the end more than after a quarter",
    value: (last.ours.heapBytes - early.ours.heapBytes) / MIB,
    unit: "MiB",
    limit: 2,
  },
  ...last.bare === undefined ? [] : [
    { what: "bare, RSS under load", value: middle(({ bare }) => bare!.rssBytes), unit: "MiB" },
    { what: "RSS under load", value: middle(({ ours }) => ours.rssBytes), unit: "MiB" },
    { what: "log under load", value: middle(({ ours }) => ours.logBytes), unit: "MiB" },
    {
      what: "bare, RSS under load above that at the start",
      value: middle(bareAbove),
      unit: "MiB",
    },
    {
      what: "RSS under load above that at the start and the log",
      value: middle(above),
      unit: "MiB",
      // A tenth of the whole, as a bare server's own size varies by.
      limit: middle(bareAbove) + 0.1 * middle(({ bare }) => bare!.rssBytes),
    },
    {
      what: "bare, RSS at rest, at the end",
      value: last.bare.rssBytes / early.bare!.rssBytes,
      unit: "of that after a quarter",
    },
    {
      what: "RSS at rest, at the end",
      value: last.ours.rssBytes / early.ours.rssBytes,
      unit: "of that after a quarter",
      limit: 1.1 * Math.max(1, last.bare.rssBytes / early.bare!.rssBytes),
    },
  ],
  load,
];
console.log(Object.entries(ends).map(([end, many]) => `  ${end}: ${many}`).join("\n"));
for (const violation of violations.slice(0, 20)) console.log(`  VIOLATION ${violation}`);
console.log(figures.map(lineOf).join("\n"));
const isGood = count > 0 && !figures.some(isMissed);
console.log(`${runtime}: ${isGood ? "ok" : "FAILED"}`);
process.exit(isGood ? 0 : 1);
