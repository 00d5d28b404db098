/**
 * Messages between processes through the store, besides the events. Separate from the writer and the
 * reader because no message is guaranteed to arrive: senders repeat it, or do without.
 */
import type { EventStore } from "./event_store.ts";
import type { StoreLink } from "./store_link.ts";

/** One message from one process to another. */
export interface PeerMessage {
  readonly from: string;
  /** Ids of streams that have new events. */
  readonly wake: Set<string>;
  /** Ids of streams that the sender has readers of, with the last event that the fastest reader has. */
  readonly here: Map<string, number>;
  /** Ids of streams that the sender has no readers of any more. */
  readonly gone: Set<string>;
  /** Those of them whose last reader took nothing. */
  readonly stalled: Set<string>;
  /** Ids of streams to be stopped, with the reason. */
  readonly stop: Map<string, string>;
  /** Ids of streams whose producer should say that it lives. */
  readonly ask: Set<string>;
}

/** How long messages are collected, in ms. */
const COLLECT_MS = 50;
/**
 * The silence after which a subscription counts as lost, in ms: this process sends itself a message
 * each second.
 */
const SILENT_MS = 3500;
/**
 * How long the store may take to subscribe, in ms: what was lost on the way there, as on a connection
 * that only seems to be open, never settles.
 */
const SUBSCRIBE_MS = 5000;

/**
 * The messages of one process: it listens on one channel, and collects what it sends to another
 * process into one message.
 */
export class PeerChannel {
  readonly #store: EventStore;
  readonly #link: StoreLink;
  readonly #process: string;
  readonly #receive: (message: PeerMessage) => void;
  readonly #outgoing = new Map<string, PeerMessage>();
  #timer: unknown;
  /** When the subscription was asked for that has not settled, in ms. */
  #askedMs = -Infinity;
  #heardMs = 0;
  /** When the last message arrived, in ms; `#heardMs` is later after a subscription. */
  #messageMs = -Infinity;

  constructor(store: EventStore, link: StoreLink, receive: (message: PeerMessage) => void) {
    this.#store = store;
    this.#link = link;
    this.#process = link.producer.id;
    this.#receive = receive;
  }

  /** The next message to a process, to be filled. */
  to(process: string): PeerMessage {
    let message = this.#outgoing.get(process);
    if (message === undefined) {
      message = emptyMessage(this.#process);
      this.#outgoing.set(process, message);
      this.#timer ??= this.#link.clock.setTimer(() => this.send(), COLLECT_MS, true);
    }
    return message;
  }

  /** Sends the messages that were collected. */
  send(): void {
    this.#link.clock.clearTimer(this.#timer);
    this.#timer = undefined;
    for (const [process, { from, wake, here, gone, stop, ask, stalled }] of this.#outgoing) {
      const parts = [wake, here, gone, stop, ask, stalled].map((part) => [...part]);
      const text = JSON.stringify([from, ...parts]);
      // Lost messages are made up for by their senders.
      this.#link.call((store) => store.publish(process, text)).catch(() => {});
    }
    this.#outgoing.clear();
  }

  /** Sends the messages at the end of this turn. */
  sendSoon(): void {
    queueMicrotask(() => this.send());
  }

  /** When the last message for this process arrived, in ms; its own do so each second. */
  get messageMs(): number {
    return this.#messageMs;
  }

  /** Subscribes, or subscribes again. */
  listen(): void {
    const nowMs = this.#heardMs = this.#link.clock.now();
    if (nowMs - this.#askedMs < SUBSCRIBE_MS) return;
    this.#askedMs = nowMs;
    this.#subscribe(nowMs);
  }

  async #subscribe(askedMs: number): Promise<void> {
    try {
      await this.#store.subscribe(this.#process, this.#hear);
    } catch {
      // `tick` tries again while nothing is heard.
    } finally {
      if (this.#askedMs === askedMs) this.#askedMs = -Infinity;
    }
  }

  /** Called each second, because the subscription may be lost, or the store down. */
  tick(): void {
    if (this.#link.clock.now() - this.#heardMs > SILENT_MS) this.listen();
    this.to(this.#process);
  }

  close(): void {
    this.#link.clock.clearTimer(this.#timer);
    this.#outgoing.clear();
  }

  readonly #hear = (message: string): void => {
    this.#heardMs = this.#messageMs = this.#link.clock.now();
    const read = parse(message);
    if (read !== undefined && read.from !== this.#process) this.#receive(read);
  };
}

function emptyMessage(from: string): PeerMessage {
  return {
    from,
    wake: new Set(),
    here: new Map(),
    gone: new Set(),
    stalled: new Set(),
    stop: new Map(),
    ask: new Set(),
  };
}

/** Parses a message. Any client of the store may publish, so its text is not trusted. */
function parse(message: string): PeerMessage | undefined {
  try {
    // A process of an earlier version does not ask, nor tell who has stalled.
    const [from, wake, here, gone, stop, ask = [], stalled = []] = JSON.parse(message);
    return {
      from: String(from),
      wake: new Set(wake),
      here: new Map(here),
      gone: new Set(gone),
      stalled: new Set(stalled),
      stop: new Map(stop),
      ask: new Set(ask),
    };
  } catch {
    return undefined;
  }
}
