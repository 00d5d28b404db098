/** An event of an upstream on its way through: an item that formats may pass on unchanged. */
import type { ServerSentEvent } from "../sse/event.ts";

/** An item that an upstream's event stands for: a token, or data with the JSON that it arrived as. */
export type ReadItem = string | { event?: string; data: unknown; json?: string };

/** An upstream's event, as `relay` puts it into a queue. */
export class Relayed {
  readonly upstream: ServerSentEvent;
  /** The event's data, by whose length the queue measures it. */
  readonly data: string;
  /** Finds the items that the event stands for, where it is not passed on. */
  readonly items: () => ReadItem[];

  constructor(upstream: ServerSentEvent, items: () => ReadItem[]) {
    this.upstream = upstream;
    this.data = upstream.data;
    this.items = items;
  }
}
