/** One generation of the simulation: what its source makes, and what is known of it. */
import { StreamError } from "../../../lib/error.ts";
import type { Disconnect } from "../../../lib/http/replay_log.ts";
import type { Item } from "../../../lib/item.ts";
import type { SourceContext } from "../../../lib/pipeline/pump.ts";
import { int, pick } from "../../support/random.ts";
import type { Process } from "./process.ts";
import { spread, type World } from "./world.ts";

/** Texts that are hard on the wire; no halves of pairs, which are joined. */
const WORDS = ["", "é", "テスト", "😀", "\n\n", "data: x\n\n", '"\\', "id: 9", "\u2028\ufeff\0"];

/** How a source hands over its tokens: pulled, by callbacks, or as one list. */
type Kind = "pulled" | "called" | "listed";

/** A generation, its plan and its truth. */
export class SimStream {
  readonly id: string;
  readonly kind: Kind;
  readonly format: "json" | "text";
  /** Number of tokens; `Infinity` goes on until it is stopped. */
  readonly count: number;
  readonly everyMs: number;
  /** Whether the source fails after its last token. */
  readonly fails: boolean;
  readonly continueForMs: number;
  /** The process that makes it. */
  producer: Process | undefined;
  /** How often the source was started. */
  starts = 0;
  made = 0;
  /** Whether the source, or what took its items, has ended. */
  isOver = false;
  /** Whether a client has a response of it, so that others may know its id. */
  isKnown = false;
  /** Whether somebody has asked for its end. */
  isStopped = false;
  /** Whether the store has lost something of it. */
  isLossy = false;
  /** When it last did. What is made after that is written anew, with all that came before. */
  lossMs: number = -Infinity;
  /** Whether the store has lost a part in its middle, of which its process does not know. */
  isHoled = false;
  /** Whether the store has it marked as lost. */
  isLost = false;
  lostMs: number = Infinity;
  /** Whether its process has shut it down. */
  isDrained = false;
  /** When the source was over, by the world's time. */
  overMs: number = Infinity;
  /** Number of its last event, as soon as a client has it. */
  endEvent: number = Infinity;
  /** The longest time for which a client of it did not read, in ms. */
  longestPauseMs = 0;
  /** Number of clients that are connected; since when there is none, and how long that has been. */
  #clients = 0;
  #aloneSinceMs: number;
  #longestAloneMs = 0;
  readonly #world: World;
  readonly #pad: number;
  readonly #seen: string[] = [];

  constructor(world: World, number: number) {
    const chance = world.chance(`stream ${number}`);
    this.#world = world;
    this.id = `s${number}`;
    this.kind = pick(chance, ["pulled", "pulled", "called", "listed"]);
    this.format = pick(chance, ["json", "json", "json", "text"]);
    const isEndless = this.kind !== "listed" && chance() < 0.2;
    this.count = isEndless ? Infinity : int(chance, chance() < 0.2 ? 4 : 60);
    const slowest = isEndless ? 2000 : chance() < 0.2 ? 1500 : 250;
    this.everyMs = isEndless ? 300 + slowest * chance() : spread(chance, 1, slowest);
    // What is listed fits into one turn of a source: how long a turn is depends on the runtime.
    this.#pad = chance() < 0.3 ? 100 : chance() < 0.2 && this.kind !== "listed" ? 3000 : 0;
    this.fails = !isEndless && chance() < 0.15;
    this.continueForMs = pick(chance, [0, 1000, 10_000, 10_000, Infinity]);
    this.#aloneSinceMs = world.nowMs;
  }

  get disconnect(): Disconnect {
    const { continueForMs } = this;
    return continueForMs === 0
      ? "cancel"
      : continueForMs === Infinity
      ? "continue"
      : { continueForMs };
  }

  /** The text of a token, from 0. */
  token(index: number): string {
    return `${index} ${WORDS[index % WORDS.length]}`.padEnd(this.#pad, "ö");
  }

  readonly source = (
    context: SourceContext,
  ): AsyncIterable<Item> | Iterable<Item> | Promise<void> => {
    this.starts++;
    this.#world.tell(this.id, `starts on ${this.producer?.name}`);
    if (this.starts > 1) this.#world.fail(this.id, "its source was started twice");
    if (this.kind === "pulled") return this.#pulled(context);
    return this.kind === "called" ? this.#called(context) : this.#listed();
  };

  async *#pulled({ signal }: SourceContext): AsyncGenerator<string, void, undefined> {
    while (this.made < this.count && !signal.aborted) {
      this.#world.stir();
      yield this.token(this.made++);
      await this.#sleep(this.everyMs);
    }
    this.#end();
  }

  async #called({ signal, queue }: SourceContext): Promise<void> {
    while (this.made < this.count && !signal.aborted) {
      this.#world.stir();
      queue.send(this.token(this.made++));
      await this.#sleep(this.everyMs);
    }
    this.#end();
  }

  *#listed(): Generator<string, void, undefined> {
    while (this.made < this.count) yield this.token(this.made++);
    this.#end();
  }

  #end(): void {
    this.#world.stir();
    if (this.fails && this.made === this.count) {
      throw new StreamError("upstream_tired", { status: 502, title: "The upstream is tired" });
    }
  }

  #sleep(ms: number): Promise<void> {
    return this.producer!.clock.sleep(ms);
  }

  /** Called when the generation has ended, as its process reports it. */
  ended(outcome: string, code: string | undefined): void {
    this.#world.tell(this.id, `ended: ${outcome} ${code ?? ""}`);
    if (this.isOver) this.#world.fail(this.id, "its end was reported twice");
    this.isOver = true;
    this.overMs = this.#world.nowMs;
  }

  /** The store has lost all of it, or a part. */
  lose(): void {
    this.isLossy = true;
    this.lossMs = this.#world.nowMs;
  }

  /** Counts a client that is connected, and one that no longer is. */
  joined(): void {
    this.#longestAloneMs = this.longestAloneMs;
    this.#clients++;
  }

  left(): void {
    if (--this.#clients === 0) this.#aloneSinceMs = this.#world.nowMs;
  }

  /** The longest time for which it had no client so far. */
  get longestAloneMs(): number {
    const ms = this.#clients > 0 ? 0 : this.#world.nowMs - this.#aloneSinceMs;
    return Math.max(this.#longestAloneMs, ms);
  }

  /** Number of the last event that any client has. */
  get seenEvents(): number {
    return Math.max(0, this.#seen.length - 1);
  }

  /** Called with each event that a client gets: all get the same one under a number. */
  seen(number: number, text: string): void {
    const before = this.#seen[number];
    if (before === undefined) this.#seen[number] = text;
    else if (before !== text) {
      this.#world.fail(
        this.id,
        `event ${number} is ${JSON.stringify(text)}, and was ${JSON.stringify(before)}`,
      );
    }
  }
}
