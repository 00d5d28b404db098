/** One process of the simulation: a `SharedLog`, a clock and a network of its own, and what can befall it. */
import { StreamError } from "../../../lib/error.ts";
import type { OpenStream } from "../../../lib/http/replay_log.ts";
import { respond } from "../../../lib/http/sse.ts";
import { SharedLog } from "../../../lib/replay/shared/shared_log.ts";
import { resume, stop } from "../../../mod.ts";
import type { FakeServer } from "../../support/fake_store.ts";
import { type Host, Network } from "./network.ts";
import type { SimStream } from "./stream.ts";
import type { SimClock, World } from "./world.ts";

/** What a client gets of a process that is dead, or about to be: no response. */
export const NOTHING: unique symbol = Symbol("nothing");

/** What all processes of a run have in common. */
export interface Site {
  readonly world: World;
  readonly server: FakeServer;
  readonly keepMs: number;
  readonly stallMs: number;
  /** Whether the store has a stream marked as lost. */
  isLost(streamId: string): boolean;
  /** Called when a process has marked a stream as lost. */
  marked(by: Process, stream: { streamId: string; producerId: string }, sentMs: number): void;
}

/** How long a process counts as alive after its last write, in ms: as `SharedLog` has it. */
export const LEASE_MS = 10_000;

/** Names of what `SharedLog` may report: outages, and rejected streams. */
const REPORTS = /^The (store|replay log)/;
/** What it reports of a stream of its own that others have marked as lost. */
const TAKEN_FOR_LOST = /^A stream was taken for lost, .*: (\w+)$/;

/**
 * A process.
 *
 * ```
 *   up ◀──thaw──freeze──▶ frozen
 *    ├──drain()──▶ closed
 *    └──kill()──▶ dead ──bury()──▶ closed     what it still holds is let go at the end of the run
 * ```
 */
export class Process implements Host {
  readonly name: string;
  readonly clock: SimClock;
  readonly network: Network;
  readonly log: SharedLog;
  state: "up" | "frozen" | "draining" | "dead" | "closed" = "up";
  /** When it last was not itself: it began, or stood still. */
  oddMs: number;
  /** The longest time for which it stood still, in ms. */
  longestFreezeMs = 0;
  #frozenMs = 0;
  readonly #site: Site;
  readonly #open = new Set<OpenStream>();
  /** What clients have left open in it when it died. */
  readonly #cut: (() => unknown)[] = [];
  #awake: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};
  /** Resolves when it is gone. */
  readonly gone: Promise<typeof NOTHING>;
  #die!: (nothing: typeof NOTHING) => void;

  constructor(name: string, site: Site) {
    const { world, server, keepMs } = site;
    this.name = name;
    this.#site = site;
    this.oddMs = world.nowMs;
    this.clock = world.newClock(name);
    this.network = new Network(world, this, server);
    this.gone = new Promise((resolve) => this.#die = resolve);
    this.log = new SharedLog(this.network, {
      clock: this.clock,
      keepMs,
      onError: (error) => this.#report(error),
    });
    world.tell(name, "is up");
  }

  get isUp(): boolean {
    return this.state === "up";
  }

  get isGone(): boolean {
    return this.state === "dead" || this.state === "closed";
  }

  awake(): Promise<void> {
    return this.#awake;
  }

  marked(stream: { streamId: string; producerId: string }, sentMs: number): void {
    this.#site.marked(this, stream, sentMs);
  }

  /** When something was last wrong with it, by the world's time. */
  get troubleMs(): number {
    const now = this.#site.world.nowMs;
    const isOdd = this.state !== "up" || this.network.cut !== undefined;
    return isOdd ? now : Math.max(this.oddMs, this.network.troubleMs);
  }

  #report(error: unknown): void {
    const { message } = error as Error;
    const [, lost] = TAKEN_FOR_LOST.exec(message) ?? [];
    const isTrue = lost === undefined ? REPORTS.test(message) : this.#site.isLost(lost);
    const isKnown = error instanceof Error && (this.isGone || isTrue);
    if (isKnown) this.#site.world.tell(this.name, `reports: ${error.message}`);
    else this.#site.world.fail(this.name, `it reports ${error}`);
  }

  /** Starts a generation for its first client. */
  start(stream: SimStream, request: Request): Promise<Response> {
    stream.producer = this;
    const { stallMs } = this.#site;
    return respond(request, stream.source as never, {
      log: this.log,
      clock: this.clock,
      streamId: stream.id,
      format: stream.format,
      disconnect: stream.disconnect,
      stallMs,
      onClose: ({ outcome, code }) => stream.ended(outcome, code),
      onError: () => {},
    }, {
      observer: {
        onOpen: (open) => void this.#open.add(open),
        onEnd: (open) => void this.#open.delete(open),
      },
    });
  }

  resume(request: Request, streamId: string): Promise<Response> {
    const { stallMs } = this.#site;
    return resume(request, { log: this.log, clock: this.clock, streamId, stallMs });
  }

  stop(streamId: string): Promise<boolean> {
    return stop({ log: this.log, streamId });
  }

  /** Asks it for something; nothing comes of it if the process dies meanwhile. */
  async ask<Result>(run: () => Promise<Result>): Promise<Result | typeof NOTHING> {
    if (this.isGone) return NOTHING;
    await this.#awake;
    if (this.isGone) return NOTHING;
    const asked = run();
    const result = await Promise.race([asked, this.gone]);
    if (result === NOTHING) this.leftOpen(() => void asked.then(letGo, () => {}));
    return result;
  }

  /** Remembers what a client would have closed, had the process lived. */
  leftOpen(close: () => unknown): void {
    this.#cut.push(close);
  }

  /** It stands still, and its clock goes on. */
  freeze(): void {
    if (this.state !== "up") return;
    this.#tell("freezes");
    this.state = "frozen";
    this.#frozenMs = this.#site.world.nowMs;
    this.clock.isFrozen = true;
    this.#awake = new Promise((resolve) => this.#wake = resolve);
  }

  thaw(): void {
    if (this.state !== "frozen") return;
    this.#tell("thaws");
    this.state = "up";
    this.oddMs = this.#site.world.nowMs;
    this.longestFreezeMs = Math.max(this.longestFreezeMs, this.oddMs - this.#frozenMs);
    this.clock.isFrozen = false;
    this.#wake();
  }

  /** It is killed. What it has sent already may still reach the store. */
  kill(): void {
    if (this.isGone) return;
    this.#tell("is killed");
    this.state = "dead";
    this.clock.isFrozen = true;
    this.network.close();
    this.#die(NOTHING);
    this.#wake();
  }

  /** It ends as a server does that is told to: its streams are shut down and written, then it closes. */
  async drain(flushMs: number): Promise<void> {
    if (this.state !== "up") return;
    this.#tell("drains");
    this.state = "draining";
    for (const open of this.#open) open.shutDown(new StreamError("shutting_down"));
    if (flushMs > 0) await this.log.flush({ timeoutMs: flushMs });
    if (this.state === "draining") await this.#close();
  }

  async #close(): Promise<void> {
    await this.log.close();
    this.network.close();
    this.state = "closed";
    this.#die(NOTHING);
    this.#tell("is closed");
  }

  /** Lets go what a dead process still holds, which a real one would not have left. */
  async bury(): Promise<void> {
    this.thaw();
    this.clock.isFrozen = false;
    for (const open of this.#open) open.shutDown(new StreamError("shutting_down"));
    for (const close of this.#cut.splice(0)) close();
    if (this.state !== "closed") await this.#close();
  }

  #tell(what: string): void {
    this.#site.world.tell(this.name, what);
  }
}

/** Cancels a response that nobody reads. */
export function letGo(result: unknown): void {
  if (result instanceof Response) result.body?.cancel().catch(() => {});
}
