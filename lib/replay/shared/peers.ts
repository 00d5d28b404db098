/**
 * Messages between processes through Redis, besides the events. Separate from the writer and the
 * reader because no message is guaranteed to arrive: senders repeat it, or do without.
 */
import { unref } from "../../pipeline/scheduler.ts";
import type { RedisConnection } from "../redis/clients.ts";
import type { RedisLink } from "../redis/link.ts";

/** One message from one process to another. */
export interface PeerMessage {
  readonly from: string;
  /** Ids of streams that have new events. */
  readonly wake: Set<string>;
  /** Ids of streams that the sender has readers of, with the last event that the fastest reader has. */
  readonly here: Map<string, number>;
  /** Ids of streams that the sender has no readers of any more. */
  readonly gone: Set<string>;
  /** Ids of streams to be stopped, with the reason. */
  readonly stop: Map<string, string>;
}

/** How long messages are collected, in ms. */
const COLLECT_MS = 50;
/**
 * The silence after which a subscription counts as lost, in ms: this process sends itself a message
 * each second.
 */
const SILENT_MS = 3500;

/**
 * The messages of one process: it listens on one channel, and collects what it sends to another
 * process into one message.
 */
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

  /** The next message to a process, to be filled. */
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

  /** Sends the messages that were collected. */
  send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [process, { from, wake, here, gone, stop }] of this.#outgoing) {
      const text = JSON.stringify([from, [...wake], [...here], [...gone], [...stop]]);
      // Lost messages are made up for by their senders.
      this.#link.send("PUBLISH", [this.#channelOf(process), text]).catch(() => {});
    }
    this.#outgoing.clear();
  }

  /** Sends the messages at the end of this turn. */
  sendSoon(): void {
    queueMicrotask(() => this.send());
  }

  /** Subscribes, or subscribes again. */
  listen(): void {
    this.#heardMs = performance.now();
    if (this.#subscribing) return;
    this.#subscribing = true;
    this.#connection.subscribe(this.#channelOf(this.#process), this.#hear)
      // `tick` tries again while nothing is heard.
      .catch(() => {})
      .finally(() => this.#subscribing = false);
  }

  /** Called each second, because the subscription may be lost, or Redis down. */
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

/** Parses a message. Any client of that Redis can publish, so its text is not trusted. */
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
