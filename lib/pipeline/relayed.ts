/** An event of an upstream on its way through: an item that formats may pass on unchanged. */
import type { Item } from "../item.ts";
import type { ServerSentEvent } from "../sse/event.ts";

/** An upstream's event, as `relay` puts it into a queue. */
export class Relayed {
  readonly upstream: ServerSentEvent;
  /** The event's data, by whose length the queue measures it. */
  readonly data: string;
  /** Finds the items that the event stands for, where it is not passed on. */
  readonly items: () => Item[];

  constructor(upstream: ServerSentEvent, items: () => Item[]) {
    this.upstream = upstream;
    this.data = upstream.data;
    this.items = items;
  }
}
