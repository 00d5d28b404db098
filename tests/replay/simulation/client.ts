/**
 * One client of the simulation: it reads a stream, leaves, stalls, comes back anywhere, and judges all
 * that it is told by what really happened.
 */
import { type Block, blocksOf } from "../../support/event_reader.ts";
import { int } from "../../support/random.ts";
import { LEASE_MS, letGo, NOTHING, type Process } from "./process.ts";
import type { SimStream } from "./stream.ts";
import type { Run } from "./run.ts";
import { spread } from "./world.ts";

/** How a connection ended: told, broken off with its process, left by the client, or dropped as stalled. */
type Parting = "told" | "cut" | "left" | "dropped";

const TOO_LATE: unique symbol = Symbol("too late");
/** Who is told 404 or nothing so often gives up. */
const MAX_TRIES = 6;
/** Longer than any run. */
const FOR_EVER_MS = 1e9;
/** How long trouble explains what a client is told, in ms. */
const TROUBLE_MS = 12_000;

/** A client. */
export class Client {
  /** How it ended; `undefined` while it goes on. */
  outcome: string | undefined;
  readonly name: string;
  readonly #run: Run;
  readonly #stream: SimStream;
  readonly #chance: () => number;
  /** Number of the last event that it has. */
  #last: number;
  #tries = 0;

  /** @param after The last event that the client says it has. */
  constructor(name: string, run: Run, stream: SimStream, after = 0) {
    this.name = name;
    this.#run = run;
    this.#stream = stream;
    this.#last = after;
    this.#chance = run.world.chance(`client ${name}`);
  }

  /** Starts the stream on a process, and reads it. */
  async start(process: Process): Promise<void> {
    const stream = this.#stream;
    const abort = new AbortController();
    this.#tell(`POST to ${process.name}`);
    const request = new Request("http://simulation/", { method: "POST", signal: abort.signal });
    const response = await this.#ask(process, () => process.start(stream, request));
    if (!(response instanceof Response)) return this.#end("no response");
    if (response.status === 200) {
      stream.isKnown = true;
      await this.#read(process, response, abort);
      return await this.#goOn();
    }
    const isTired = response.status === 502 && stream.fails && stream.count === 0;
    if (!isTired) this.#fail(`POST gives ${response.status} ${await response.text()}`);
    this.#end(`${response.status}`);
  }

  /** Comes to a stream that somebody else has started. */
  async join(): Promise<void> {
    await this.#goOn();
  }

  /** Connects again and again until there is nothing more to come. */
  async #goOn(): Promise<void> {
    const { world } = this.#run;
    while (this.outcome === undefined) {
      if (!this.#run.isCalm && this.#chance() < 0.1) return this.#end("vanished");
      await world.clock.sleep(spread(this.#chance, 1, this.#run.isCalm ? 1000 : 6000));
      const process = this.#run.anyProcess(this.#chance);
      if (process !== undefined) await this.#resume(process);
    }
    // Some ask once more, though they have it all.
    if (this.outcome.startsWith("done") && this.#chance() < 0.2) await this.#askAgain();
  }

  async #resume(process: Process): Promise<Parting> {
    const stream = this.#stream;
    const { world } = this.#run;
    const abort = new AbortController();
    const isPost = this.#chance() < 0.3;
    const headers: HeadersInit = this.#last === 0
      ? {}
      : { "last-event-id": `${stream.id}.${this.#last}` };
    const method = isPost ? "POST" : "GET";
    this.#tell(`${method} ${stream.id}.${this.#last} of ${process.name}`);
    const request = new Request("http://simulation/", { method, headers, signal: abort.signal });
    const wasStored = this.#run.isStored(stream);
    const sinceMs = world.nowMs;
    const response = await this.#ask(process, () => process.resume(request, stream.id));
    if (!(response instanceof Response)) return "cut";
    if (response.status === 200) return await this.#read(process, response, abort);
    const body = await response.text();
    this.#tell(`${response.status} ${/"code":"(\w+)"/.exec(body)?.[1] ?? ""}`);
    switch (response.status) {
      case 404:
        this.#check404(process, wasStored);
        if (++this.#tries >= MAX_TRIES) this.#end("404");
        break;
      case 503:
        if (!isTroubled(process, sinceMs - TROUBLE_MS)) this.#fail("503, and nothing was wrong");
        break;
      case 410:
      case 400:
        if (!stream.isLossy) this.#fail(`${response.status} ${body}, and nothing was lost`);
        this.#end(`${response.status}`);
        break;
      default:
        this.#fail(`it is told ${response.status} ${body}`);
    }
    return "left";
  }

  #check404(process: Process, wasStored: boolean): void {
    const stream = this.#stream;
    if (stream.isLossy) return;
    if (wasStored && this.#run.isStored(stream)) this.#fail("404, and the store has the stream");
    if (process === stream.producer && stream.isKnown && !stream.isOver) {
      this.#fail("404, and the process makes the stream");
    }
  }

  /** Asks with the last position, after the end. */
  async #askAgain(): Promise<void> {
    const process = this.#run.anyProcess(this.#chance);
    if (process === undefined) return;
    const headers = { "last-event-id": `${this.#stream.id}.${this.#last}` };
    const request = new Request("http://simulation/", { headers });
    const wasStored = this.#run.isStored(this.#stream);
    const sinceMs = this.#run.world.nowMs;
    const response = await this.#ask(process, () => process.resume(request, this.#stream.id));
    if (!(response instanceof Response)) return;
    this.#tell(`asks again: ${response.status}`);
    response.body?.cancel();
    // A stream that was called lost while its own clients read it to its end.
    const isOther = this.#stream.isLossy || this.#stream.isLost;
    if (response.status === 404) this.#check404(process, wasStored);
    else if (response.status === 503 && isTroubled(process, sinceMs - TROUBLE_MS)) return;
    else if (response.status !== 204 && !isOther) this.#checkBehind(process, response);
  }

  /** A 200 after the end: the store does not have the end yet. */
  #checkBehind(process: Process, { status }: Response): void {
    const isBehind = status === 200 && process !== this.#stream.producer;
    if (!isBehind) this.#fail(`it has all of it, and is told ${status}`);
  }

  /** Asks a process, and gives up if that takes too long. */
  async #ask(
    process: Process,
    run: () => Promise<Response>,
  ): Promise<Response | typeof NOTHING | typeof TOO_LATE> {
    const { clock } = this.#run.world;
    const asked = process.ask(run);
    let timer: unknown;
    const late = new Promise<typeof TOO_LATE>((resolve) => {
      timer = clock.setTimer(() => resolve(TOO_LATE), spread(this.#chance, 4000, 20_000));
    });
    const result = await Promise.race([asked, late]);
    clock.clearTimer(timer);
    if (result === TOO_LATE) {
      this.#tell("gives up waiting");
      asked.then(letGo, () => {});
    } else if (result === NOTHING) this.#tell(`${process.name} is gone`);
    return result;
  }

  /** Reads a response until something ends it. */
  async #read(process: Process, response: Response, abort: AbortController): Promise<Parting> {
    const { world } = this.#run;
    const reader = response.body!.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    const connection = { reader, process, abort, pauseMs: 0, takenMs: world.nowMs };
    let leave = () => {};
    const left = new Promise<"left">((resolve) => leave = () => resolve("left"));
    // Who waits in the calm waits for ever: what was lost must be made up for without its help.
    const patienceMs = this.#run.isCalm || this.#chance() < 0.5
      ? FOR_EVER_MS
      : spread(this.#chance, 0, 9000);
    const timer = world.clock.setTimer(leave, patienceMs);
    this.#stream.joined();
    this.#tell(`reads from ${process.name}`);
    try {
      const parting = await this.#readAll(connection, left);
      this.#tell(`${parting} at ${this.#last}`);
      return parting;
    } finally {
      world.clock.clearTimer(timer);
      this.#stream.left();
    }
  }

  async #readAll(connection: Connection, left: Promise<"left">): Promise<Parting> {
    const { world } = this.#run;
    const { process, reader } = connection;
    const decoder = new TextDecoder();
    let rest = "";
    let isTold = false;
    let pauseAt = this.#last + 1 + int(this.#chance, 60);
    for (;;) {
      await Promise.race([process.awake(), left]);
      const read = reader.read().then(
        ({ done, value }) => done ? undefined : value!,
        () => "broken" as const,
      );
      const result = await Promise.race([read, process.gone, left]);
      world.stir();
      if (result === "left") {
        this.#leave(connection);
        return "left";
      }
      if (result === NOTHING) {
        process.leftOpen(() => reader.cancel().catch(() => {}));
        return "cut";
      }
      if (result === "broken") {
        // It did not read for long, or its process stood still.
        const isStalled = connection.pauseMs >= this.#run.leastStallMs;
        if (!isStalled && process.oddMs < connection.takenMs) this.#fail("its body is broken off");
        return "dropped";
      }
      if (result === undefined) {
        if (!isTold) this.#fail("its body ends without a word");
        if (rest !== "") this.#fail(`its body ends with ${JSON.stringify(rest)}`);
        return "told";
      }
      const before = this.#last;
      const parsed = blocksOf(rest + decoder.decode(result, { stream: true }));
      rest = parsed.rest.replace(/^(:\n)+/, "");
      for (const block of parsed.blocks) {
        if (isTold) this.#fail(`something follows the end: ${JSON.stringify(block.text)}`);
        isTold = this.#take(block, process);
      }
      connection.takenMs = world.nowMs;
      if (this.#last > before) this.#tries = 0;
      world.note(this.name, `has ${this.#last}`);
      // By events, because a runtime may cut a body into other chunks.
      if (isTold || this.#run.isCalm || this.#last < pauseAt) continue;
      pauseAt = this.#last + 1 + int(this.#chance, 60);
      connection.pauseMs = spread(this.#chance, 5, this.#run.stallMs * 1.5);
      this.#stream.longestPauseMs = Math.max(this.#stream.longestPauseMs, connection.pauseMs);
      this.#tell(`pauses for ${connection.pauseMs.toFixed(0)} ms`);
      await Promise.race([world.clock.sleep(connection.pauseMs), left]);
    }
  }

  /** Leaves: the process learns of it, by the body or by the request. */
  #leave({ process, reader, abort }: Connection): void {
    const close = () => {
      this.#run.world.stir();
      if (this.#chance() < 0.5) return void reader.cancel().catch(() => {});
      abort.abort();
      // What is left of the body is nobody's.
      reader.cancel().catch(() => {});
    };
    process.awake().then(() => process.isGone ? process.leftOpen(close) : close());
  }

  /** Takes one event. Returns whether it is the last one. */
  #take(block: Block, process: Process): boolean {
    const stream = this.#stream;
    const { id, event, data } = block;
    if (id === undefined) {
      const { code, resume } = JSON.parse(data);
      if (event !== "failed" || resume !== true) this.#fail(`an event without id: ${block.text}`);
      this.#checkOwnFailure(code, process);
      return true;
    }
    if (id.endsWith(".lost")) {
      if (event !== "failed" || JSON.parse(data).code !== "producer_lost" || !stream.isLost) {
        this.#fail(`it is told of a loss that did not happen: ${block.text}`);
      }
      this.#end("failed producer_lost");
      return true;
    }
    if (id !== `${stream.id}.${this.#last + 1}`) this.#fail(`event ${id} follows ${this.#last}`);
    this.#last++;
    stream.seen(this.#last, block.text);
    if (event === "message") {
      const token = stream.format === "text" ? data : JSON.parse(data).token;
      const expected = stream.token(this.#last - 1);
      if (token !== expected || this.#last > stream.count) {
        this.#fail(
          `event ${this.#last} is ${JSON.stringify(token)}, not ${JSON.stringify(expected)}`,
        );
      }
      return false;
    }
    stream.endEvent = this.#last;
    if (event === "done") this.#checkEnd(JSON.parse(data));
    else if (event === "failed") this.#checkFailure(JSON.parse(data).code);
    else this.#fail(`an event of another kind: ${block.text}`);
    return true;
  }

  #checkEnd({ reason, tokens }: { reason: string; tokens: number }): void {
    const { count, fails, isStopped } = this.#stream;
    const made = this.#last - 1;
    if (tokens !== made) this.#fail(`${tokens} tokens, it is told, and it has ${made}`);
    const isGood = reason === "completed"
      ? made === count && !fails
      : reason === "cancelled" && isStopped;
    if (!isGood) this.#fail(`it is told ${reason} after ${made} tokens of ${count}`);
    this.#end(`done ${reason}`);
  }

  /** A failure that is the stream's, and logged. */
  #checkFailure(code: string): void {
    const stream = this.#stream;
    const { producer } = stream;
    const made = this.#last - 1;
    const isTrue = code === "upstream_tired"
      ? stream.fails && made === stream.count
      : code === "shutting_down"
      ? producer?.state === "draining" || producer?.isGone === true
      : code === "producer_lost"
      ? stream.isLost
      : code === "stalled"
      ? this.#run.mayBeStalled(stream) && this.#run.mayBeAbandoned(stream)
      : code === "disconnected" && this.#run.mayBeAbandoned(stream);
    if (!isTrue) this.#fail(`it is told ${code} after ${made} tokens of ${stream.count}`);
    this.#end(`failed ${code}`);
  }

  /** A failure of this client's connection alone. */
  #checkOwnFailure(code: string, process: Process): void {
    const { network } = process;
    const { nowMs } = this.#run.world;
    const isTrue = code === "lagged"
      ? this.#stream.isLossy || this.#run.isForgotten(this.#stream)
      : code === "shutting_down"
      ? process.state === "draining" || process.isGone
      : code === "log_unavailable" && nowMs - network.readMs > 2.5 * LEASE_MS;
    if (!isTrue) this.#fail(`its connection fails with ${code}`);
    this.#tell(`fails with ${code}`);
    // A hole that stays; what comes after it is never told.
    if (code === "lagged" && ++this.#tries >= MAX_TRIES) this.#end("failed lagged");
  }

  #end(outcome: string): void {
    this.outcome ??= outcome;
    this.#tell(`ends: ${outcome}`);
  }

  #tell(what: string): void {
    this.#run.world.tell(this.name, what);
  }

  #fail(what: string): void {
    this.#run.world.fail(this.name, `${this.#stream.id}: ${what}`);
  }
}

interface Connection {
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly process: Process;
  readonly abort: AbortController;
  /** How long the client did not read, before it read again. */
  pauseMs: number;
  takenMs: number;
}

/** Asks a process for the end of a stream, and judges what it says. */
export async function stopStream(name: string, run: Run, stream: SimStream): Promise<void> {
  const { world } = run;
  const chance = world.chance(`stop ${name}`);
  const process = run.anyProcess(chance);
  if (process === undefined) return;
  world.tell(name, `stops ${stream.id} on ${process.name}`);
  stream.isStopped = true;
  const sinceMs = world.nowMs;
  const wasStored = run.isStored(stream);
  let found: boolean | typeof NOTHING | string;
  try {
    found = await process.ask(() => process.stop(stream.id));
  } catch (error) {
    found = (error as { code: string }).code;
  }
  world.tell(name, `is told ${String(found)}`);
  const { producer } = stream;
  if (found === true) {
    const isOver = stream.isOver || stream.isLost || stream.isLossy || producer!.isGone;
    if (!isOver) world.fail(name, `${stream.id} goes on after it was stopped`);
  } else if (found === false) {
    const isFalse = wasStored && run.isStored(stream) && !stream.isLossy;
    if (isFalse) world.fail(name, `${stream.id} cannot be stopped, and the store has it`);
  } else if (found !== NOTHING) {
    const fromMs = sinceMs - TROUBLE_MS;
    const isTold = found === "log_unavailable" &&
      (isTroubled(process, fromMs) || isTroubled(producer!, fromMs) || run.losesMessages);
    if (!isTold) world.fail(name, `${stream.id} cannot be stopped: ${found}`);
  }
}

/** Whether something was wrong with a process since then. */
function isTroubled(process: Process, sinceMs: number): boolean {
  return process.troubleMs >= sinceMs;
}
