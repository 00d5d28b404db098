/**
 * What processes tell each other through Redis, besides what they write down. It stands apart because
 * none of it is promised to arrive: whoever sends a message says it again, or does without.
 */
import { unref } from "../../pipeline/scheduler.ts";
import type { RedisConnection } from "../redis/clients.ts";
import type { RedisLink } from "../redis/link.ts";

/** One message, from one process to another. */
export interface PeerMessage {
  readonly from: string;
  /** Streams that have something new. */
  readonly wake: Set<string>;
  /** Streams that the sender has readers of, with the last event that the fastest of them has. */
  readonly here: Map<string, number>;
  /** Streams that the sender has no readers of any more. */
  readonly gone: Set<string>;
  /** Streams to be stopped, and why. */
  readonly stop: Map<string, string>;
}

/** How long messages are collected. */
const COLLECT_MS = 50;
/** What is silent for longer than this, although it is spoken to each second, has lost its subscription. */
const SILENT_MS = 3500;

/** What one process tells the others: one channel to hear on, and what is collected for another goes there as one message. */
export class PeerChannel {
  readonly #connection: RedisConnection;
  readonly #link: RedisLink;
  readonly #process: string;
  readonly #channelOf: (process: string) => string;
  readonly #receive: (message: PeerMessage) => void;
  readonly #outgoing = new Map<string, PeerMessage>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #subscribing = false;
  #heardMs = 0;

  constructor(
    connection: RedisConnection,
    link: RedisLink,
    process: string,
    channelOf: (process: string) => string,
    receive: (message: PeerMessage) => void,
  ) {
    this.#connection = connection;
    this.#link = link;
    this.#process = process;
    this.#channelOf = channelOf;
    this.#receive = receive;
  }

  /** The next message to a process, to be added to. */
  to(process: string): PeerMessage {
    let message = this.#outgoing.get(process);
    if (message === undefined) {
      message = emptyMessage(this.#process);
      this.#outgoing.set(process, message);
      this.#timer ??= setTimeout(() => this.send(), COLLECT_MS);
      unref(this.#timer);
    }
    return message;
  }

  /** Sends what was collected. */
  send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [process, { from, wake, here, gone, stop }] of this.#outgoing) {
      const text = JSON.stringify([from, [...wake], [...here], [...gone], [...stop]]);
      // Lost messages are made up for by those who sent them.
      this.#link.send("PUBLISH", [this.#channelOf(process), text]).catch(() => {});
    }
    this.#outgoing.clear();
  }

  /** Sends it with whatever else is said in this turn. */
  sendSoon(): void {
    queueMicrotask(() => this.send());
  }

  /** Begins to listen, or begins anew. */
  listen(): void {
    this.#heardMs = performance.now();
    if (this.#subscribing) return;
    this.#subscribing = true;
    this.#connection.subscribe(this.#channelOf(this.#process), this.#hear)
      // It is tried again when nothing is heard.
      .catch(() => {})
      .finally(() => this.#subscribing = false);
  }

  /** Called each second: a client may have lost its subscription, and Redis may be away. */
  tick(): void {
    if (performance.now() - this.#heardMs > SILENT_MS) this.listen();
    this.to(this.#process);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#outgoing.clear();
  }

  readonly #hear = (message: string): void => {
    this.#heardMs = performance.now();
    const read = parse(message);
    if (read !== undefined && read.from !== this.#process) this.#receive(read);
  };
}

function emptyMessage(from: string): PeerMessage {
  return { from, wake: new Set(), here: new Map(), gone: new Set(), stop: new Map() };
}

/** Anybody who may publish can write nonsense. */
function parse(message: string): PeerMessage | undefined {
  try {
    const [from, wake, here, gone, stop] = JSON.parse(message);
    return {
      from: String(from),
      wake: new Set(wake),
      here: new Map(here),
      gone: new Set(gone),
      stop: new Map(stop),
    };
  } catch {
    return undefined;
  }
}
