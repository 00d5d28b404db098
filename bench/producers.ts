/**
 * The producers that every JavaScript subject shares: the five burst shapes, the paced and the idle one, and the
 * query that chooses among them. A subject's own file then holds nothing but what its documentation recommends.
 *
 * `generator` and `sync` are iterables, to be handed to whatever the subject iterates; `queue`, `micro` and `macro`
 * are callbacks that `feed` makes: all tokens in one go, or groups of ten with a microtask or a macrotask between.
 */
import { createServer } from "node:http";
import { connect } from "node:net";
import process from "node:process";
import { setImmediate } from "node:timers";
import { toNodeListener } from "../lib/node.ts";
import { Corpus, InternedCorpus, SEED } from "./inputs.ts";
import { STAMP_LENGTH } from "./pacer.ts";

export type Shape = "generator" | "sync" | "queue" | "micro" | "macro" | "paced" | "idle";
export type FormatName =
  | "text"
  | "json"
  | "openai"
  | "anthropic"
  | "ui-message"
  | "responses"
  | "ag-ui";
export type Query = { shape: Shape; n: number; format: FormatName };

/** Token boundaries repeat after this many; a longer stream begins again, with fresh strings. */
const CORPUS_TOKENS = 1000;
const GROUP = 10;
/** Whether a token is a string of its own at every use, as a parser makes it, or one of a thousand that stay. */
export type Tokens = "fresh" | "interned";
/** The environment variable that chooses between the two. */
export const TOKENS = "TOKENS";
/** The tokens of every producer. */
export const corpus: Pick<Corpus, "token"> = process.env[TOKENS] === "interned"
  ? new InternedCorpus(CORPUS_TOKENS, SEED)
  : new Corpus(CORPUS_TOKENS, SEED);

let lastUrl = "";
let lastQuery: Query = { shape: "generator", n: 0, format: "text" };

/** The query of a request's URL; the last result is kept, for the load generator sends one URL over and over. */
export function query(url: string): Query {
  if (url === lastUrl) return lastQuery;
  const parameters = new URL(url, "http://localhost").searchParams;
  lastUrl = url;
  return lastQuery = {
    shape: (parameters.get("shape") ?? "generator") as Shape,
    n: Number(parameters.get("n") ?? 1000),
    format: (parameters.get("format") ?? "text") as FormatName,
  };
}

/** Whether the shape is one to iterate asynchronously; the others are `sync` or come through `feed`. */
export function iterates(shape: Shape): boolean {
  return shape === "generator" || shape === "paced" || shape === "idle";
}

/** The tokens of the shape as an async generator: as fast as they are asked for, 50 a second, or one and then silence. */
export function generate({ shape, n }: Query): AsyncGenerator<string, void> {
  return shape === "paced" ? paced(n) : shape === "idle" ? idle() : burst(n);
}

async function* burst(n: number): AsyncGenerator<string, void> {
  for (let i = 0; i < n; i++) yield corpus.token(i);
}

/** The tokens as a synchronous iterable. */
export function* iterate(n: number): Generator<string, void> {
  for (let i = 0; i < n; i++) yield corpus.token(i);
}

/** Calls `send` with every token, as a library's callbacks would, in the manner of the shape. Waits for no `send`. */
export async function feed({ shape, n }: Query, send: (token: string) => unknown): Promise<void> {
  for (let i = 0; i < n; i++) {
    send(corpus.token(i));
    if (shape !== "queue" && i % GROUP === GROUP - 1) await pause(shape);
  }
}

/** The same for libraries whose documentation awaits each send. */
export async function feedWaiting(
  { shape, n }: Query,
  send: (token: string) => Promise<unknown>,
): Promise<void> {
  for (let i = 0; i < n; i++) {
    await send(corpus.token(i));
    if (shape !== "queue" && i % GROUP === GROUP - 1) await pause(shape);
  }
}

/** The moment between two groups: a turn of the event loop for `macro`, else one microtask. */
export function pause(shape: Shape): Promise<void> {
  return shape === "macro" ? new Promise((resolve) => setImmediate(resolve)) : Promise.resolve();
}

async function* idle(): AsyncGenerator<string, void> {
  yield corpus.token(0);
  await new Promise(() => {});
}

// --- paced -----------------------------------------------------------------------------------------------------------

/** Each stream gets one of twenty tokens: the wheel has as many slots, and a stream owns one. */
const SLOTS = 20;

type Slot = ((token: string) => void)[];

/** One socket for all streams: a token every millisecond, for a twentieth of them. */
class Wheel {
  #slots: Slot[] = Array.from({ length: SLOTS }, () => []);
  #streams = 0;
  /** What has come so far. */
  readonly #tokens: string[] = [];

  constructor(port: number) {
    let rest = "";
    const socket = connect(port, "127.0.0.1", () => {
      socket.on("error", () => {}); // the load generator has ended, and this process will
    });
    socket.setEncoding("latin1").on("data", (text: string) => {
      rest += text;
      let at = 0;
      for (; at + STAMP_LENGTH <= rest.length; at += STAMP_LENGTH) {
        this.#turn(rest.slice(at, at + STAMP_LENGTH));
      }
      rest = rest.slice(at);
    });
  }

  /** Streams take the slots in turn, so that every token has as many. */
  nextSlot(): number {
    return this.#streams++ % SLOTS;
  }

  /** The number of a slot's next token. */
  firstOf(slot: number): number {
    return Math.ceil((this.#tokens.length - slot) / SLOTS) * SLOTS + slot;
  }

  /** A token that has come already: who asks for it is late and must not wait. */
  get(number: number): string | undefined {
    return this.#tokens[number];
  }

  /** Calls back with the next token of the slot. */
  at(slot: number, callback: (token: string) => void): void {
    this.#slots[slot]!.push(callback);
  }

  #turn(token: string): void {
    const slot = this.#tokens.length % SLOTS;
    this.#tokens.push(token);
    const due = this.#slots[slot]!;
    if (due.length === 0) return;
    this.#slots[slot] = [];
    for (const callback of due) callback(token);
  }
}

let shared: Wheel | undefined;
const wheel = () => shared ??= new Wheel(Number(process.env["PACER"]));

/** A stream's tokens as they come; one that is late follows at once, and keeps its time. */
async function* paced(n: number): AsyncGenerator<string, void> {
  const slot = wheel().nextSlot();
  let number = wheel().firstOf(slot);
  for (let i = 0; i < n; i++, number += SLOTS) {
    const missed = wheel().get(number);
    yield missed ?? await new Promise<string>((resolve) => wheel().at(slot, resolve));
  }
}

/** The same tokens as a callback, for the native floor; `send` returns whether to go on. */
export function pace(send: (token: string) => boolean): void {
  const slot = wheel().nextSlot();
  const turn = (token: string) => {
    if (send(token)) wheel().at(slot, turn);
  };
  wheel().at(slot, turn);
}

// --- the process -----------------------------------------------------------------------------------------------------

/** The port the runner chose. */
export const port: number = Number(process.env["PORT"] ?? 8000);

/** Tells the runner that the server listens; SIGUSR2 collects garbage, so that memory is compared after a collection. */
export function ready(): void {
  const { gc, Bun } = globalThis as { gc?: () => void; Bun?: { gc(sync: boolean): void } };
  process.on("SIGUSR2", () => Bun === undefined ? gc?.() : Bun.gc(true));
  console.log(`ready ${port}`);
}

/** Serves a fetch handler on the runtime's own server. */
export function serve(fetch: (request: Request) => Response | Promise<Response>): void {
  const { Bun, Deno } = globalThis as {
    Bun?: { serve(options: object): unknown };
    Deno?: { serve(options: object, handler: unknown): unknown };
  };
  if (Bun !== undefined) {
    Bun.serve({ port, hostname: "127.0.0.1", idleTimeout: 0, fetch });
  } else if (Deno !== undefined) {
    Deno.serve({ port, hostname: "127.0.0.1", onListen: () => {} }, fetch);
  } else createServer(toNodeListener(fetch)).listen(port, "127.0.0.1");
  ready();
}

/** The headers of the subjects that set their own. */
export const EVENT_STREAM: Record<string, string> = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache",
};
