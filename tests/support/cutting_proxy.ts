/**
 * A proxy that cuts responses at any byte, before a server that counts how often its sources were
 * started. Our own tests and those with the real packages use the same one.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { connect, createServer, type Socket } from "node:net";
import process from "node:process";
import { active } from "../../lib/counters.ts";
import {
  createHandler,
  decodeEvents,
  MemoryLog,
  resume,
  type ServerSentEvent,
  type SourceContext,
  sse,
  type StreamReport,
} from "../../mod.ts";
import { total } from "./child.ts";
import { HOSTILE, int, pick, random } from "./random.ts";
import { DEPARTURES, serve, until } from "./serve.ts";

/** How many answers are cut in each test: few unless more are asked for. */
export const CUTS: number = Number(process.env.CUTS ?? 100);
/** How many readers there are at once. */
const AT_ONCE = 50;
/** About as long as an answer is. */
const ANSWER_BYTES = 12_000;

/** How long one answer may take, all its cuts included, before a reader is said to hang. */
const HANGS_MS = 45_000;
/** When a reader stops to come back: by then it has been said to hang. */
export const GIVES_UP_MS: number = HANGS_MS + 1000;

/** What who has nothing yet is given at least, for without it there is nothing to come back with. */
const SPARED: Record<"head" | "event", RegExp> = {
  head: /\r\n\r\n/,
  event: /\r\n\r\n[^]*?\n\n/,
};

/** How answers are cut. */
interface CutterOptions {
  /** What of the first answer is never cut. @default {nothing} */
  sparesFirst?: keyof typeof SPARED;
  /** The share of answers that are not cut. */
  wholeShare?: number;
  /** How many answers are cut. @default {CUTS} */
  cuts?: number;
}

/** How answers are made and cut. */
export interface CutSceneOptions extends CutterOptions {
  /** The longest pause between tokens, in ms: clients that wait before they come back want a slow source. @default {8} */
  pauseMs?: number;
  /** Starts what stands between the proxy and the server, whose port it is given. */
  through?: (port: number) => Promise<Passage>;
}

/** What passes requests on. */
export interface Passage {
  readonly port: number;
  close(): Promise<void>;
}

/** Passes requests on to another port of this machine, and cuts the answers. */
export interface Cutter {
  readonly url: string;
  /** Answers that were cut so far. */
  cuts: number;
  close(): void;
}

/** Starts a proxy before one or several servers, of which each connection gets one. */
export function startCutter(
  to: readonly number[],
  seed: number,
  { sparesFirst, wholeShare = 0.15, cuts = CUTS }: CutterOptions,
): Promise<Cutter> {
  const chance = random(seed);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(to.length === 1 ? to[0]! : pick(chance, to), "127.0.0.1");
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {}); // a reset is what this is about
      socket.on("close", () => sockets.delete(socket));
    }
    let asked = false;
    let left = cutter.cuts >= cuts || chance() < wholeShare
      ? Infinity
      : int(chance, ANSWER_BYTES / 2);
    let spared = "";
    let isSpared = false;
    // A cut takes back what the reader has not looked at yet (a reset does, and on Bun each of them).
    let pauseMs = pick(chance, [0, 20]);
    let isCut = false;
    const [how, upstreamHow] = [
      pick(chance, DEPARTURES),
      pick(chance, DEPARTURES),
    ];
    client.on("data", (data: Buffer) => {
      if (!asked) {
        asked = true;
        const text = data.toString("latin1");
        isSpared = sparesFirst !== undefined && !/^last-event-id:|starting_after=/im.test(text);

        // One answer a connection: else a cut would hit the next one as well.
        data = Buffer.from(
          text.replace("\r\n", "\r\nConnection: close\r\n"),
          "latin1",
        );
      }
      upstream.write(data);
    });
    client.on("end", () => upstream.end());
    client.on("close", () => upstream.destroy());
    upstream.on("data", (data: Buffer) => {
      if (isCut) return;
      if (isSpared) {
        spared += data.toString("latin1");
        // The end of what is spared comes in one piece, whatever the chunks are.
        if (!SPARED[sparesFirst!].test(spared)) {
          client.write(data);
          return;
        }
        isSpared = false;
        left += data.length;
        // Long enough for a reader on a busy machine to look at it.
        pauseMs = 300;
      }
      if (data.length < left || cutter.cuts >= cuts) {
        left -= data.length;
        client.write(data);
        return;
      }
      isCut = true;
      cutter.cuts++;
      client.write(data.subarray(0, left), () => {
        if (pauseMs === 0) client[how]();
        else setTimeout(() => client[how](), pauseMs);
      });
      upstream[upstreamHow]();
    });
    upstream.on("close", () => isCut || client.end());
  });
  const cutter: Cutter = {
    url: "",
    cuts: 0,

    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      resolve(Object.assign(cutter, { url: `http://127.0.0.1:${port}` }));
    });
  });
}

/** A server whose answers are cut on their way. */
export interface CutScene {
  readonly cutter: Cutter;
  /** Where nothing is cut. */
  readonly url: string;
  /** How often each query's source was started. */
  readonly starts: Map<string, number>;
  /** The whole answer to a query. */
  textOf(query: string): string;
  /** Runs `read` for query after query, 50 at a time, until there were as many cuts as were asked for. */
  run(read: (query: string) => Promise<string>): Promise<void>;
  close(): Promise<void>;
}

/** The tokens of a query: what breaks encoders, and pieces of each length. */
function tokensOf(query: string): string[] {
  const chance = random(
    [...query].reduce((sum, char) => sum * 31 + char.charCodeAt(0) | 0, 7),
  );
  return Array.from({ length: 150 }, (_, i) => {
    const hostile = pick(chance, HOSTILE).replace(
      /[\ud800-\udfff](?![\udc00-\udfff])/,
      "?",
    );
    return `${i}${hostile}${"x".repeat(int(chance, 10) === 0 ? int(chance, 1500) : 3)}`;
  });
}

/** The answer to a query, with a pause now and then. */
export async function* answerTo(
  query: string,
  pauseMs: number,
  seed = 1,
): AsyncGenerator<string, void> {
  const chance = random(seed);
  for (const token of tokensOf(query)) {
    yield token;
    if (chance() < 0.2) {
      await new Promise((resolve) => setTimeout(resolve, int(chance, pauseMs)));
    }
  }
}

/**
 * Reads query after query, 50 at a time, until there were as many cuts. Each text is exact.
 *
 * @returns How many queries there were.
 */
export async function readThroughCuts(
  cutter: Cutter,
  cuts: number,
  read: (query: string) => Promise<string>,
): Promise<number> {
  let next = 0;
  let told = 0;
  async function readOn(): Promise<void> {
    while (cutter.cuts < cuts) {
      const query = `run-${next++}`;
      const text = await inTime(query, read(query));
      const expected = tokensOf(query).join("");
      assert(
        text === expected,
        `${query}: ${text.length} of ${expected.length} characters`,
      );
      if (cuts > 100 && cutter.cuts >= told + 100) {
        told = cutter.cuts - cutter.cuts % 100;
        console.log(`  ${told} of ${cuts} cuts, ${next} answers`);
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, readOn));
  return next;
}

/**
 * Starts the server: the handler's routes; `/named/{name}`, where `sse` and `resume` serve a stream whose
 * name the reader knows before it has one byte; and `/sse/{query}`, where `sse` alone does it all.
 */
export async function startCutScene(
  seed: number,
  { pauseMs = 8, through, cuts = CUTS, ...options }: CutSceneOptions = {},
): Promise<CutScene> {
  const starts = new Map<string, number>();
  const reports: StreamReport[] = [];
  const errors: unknown[] = [];
  const log = new MemoryLog();
  const common = {
    log,
    heartbeatMs: 100,
    onClose: (report: StreamReport) => void reports.push(report),
    onError: (error: unknown) => void errors.push(error),
  };

  function act(query: string) {
    starts.set(query, (starts.get(query) ?? 0) + 1);
    return answerTo(query, pauseMs, seed);
  }

  const handler = createHandler({
    ...common,
    source: ({ input }: SourceContext<{ query: string }>) => act(input.query),
  });
  const server = serve(async (request, info) => {
    const [, way, name] = /\/(named|sse)\/([\w-]+)$/.exec(new URL(request.url).pathname) ?? [];
    if (name === undefined) return handler.fetch(request, info);
    if (way === "sse") return sse(request, () => act(name), common);
    if (
      request.headers.has("last-event-id") || await log.find(name) === undefined
    ) {
      return sse(request, () => act(name), {
        ...common,
        streamId: name,
        format: "json",
      });
    }
    return resume(request, { log, streamId: name });
  });
  const passage = await through?.(server.port);
  const cutter = await startCutter([passage?.port ?? server.port], seed, { ...options, cuts });

  async function run(read: (query: string) => Promise<string>): Promise<void> {
    const next = await readThroughCuts(cutter, cuts, read);
    for (let at = 0; at < next; at++) {
      assert.equal(starts.get(`run-${at}`), 1, `run-${at}: starts`);
    }
    // A reader may know by the text alone that it has all, before the end is made.
    await until(() => total(active) === 0, 3000, "nothing left").catch(
      (error) => {
        throw new Error(`${error.message}: ${JSON.stringify(active)}`);
      },
    );
    assert(
      reports.every(({ outcome }) => outcome === "completed"),
      "all are complete",
    );
    assert.equal(reports.length, next);
    assert.deepEqual(errors, []);
  }

  return {
    cutter,
    url: server.url,
    starts,
    textOf: (query) => tokensOf(query).join(""),
    run,
    close: async () => {
      cutter.close();
      await passage?.close();
      await server.close();
    },
  };
}

/** The answer to `query`; an error if the reader waits for something that does not come. */
function inTime(query: string, answer: Promise<string>): Promise<string> {
  return new Promise((resolve, reject) => {
    const hangs = () => reject(new Error(`${query}: no end within ${HANGS_MS} ms`));
    const timer = setTimeout(hangs, HANGS_MS);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** What a reader with a plain `fetch` does: ask, read, and come back with what it has. */
export async function readAll(
  ask: (lastEventId: string | undefined) => Promise<Response>,
): Promise<string> {
  let lastEventId: string | undefined;
  let text = "";
  for (const fromMs = performance.now(); performance.now() - fromMs < GIVES_UP_MS;) {
    try {
      const response = await ask(lastEventId);
      if (response.status === 204) return text;
      if (response.status !== 200) {
        throw new Refused(`${response.status}: ${await response.text()}`);
      }
      for await (
        const event of decodeEvents(response.body!) as AsyncIterable<
          ServerSentEvent
        >
      ) {
        lastEventId = event.lastEventId;
        if (event.event === "done") return text;
        if (event.event === "failed") throw new Refused(event.data);
        text += JSON.parse(event.data).token;
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
      // It was cut.
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("It gives up");
}

/** An answer that no connection is to blame for. */
class Refused extends Error {}
