/** An event of an upstream on its way through: an item that formats may pass on unchanged. */
import type { Framer } from "../formats/format.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { type ItemWriter, SelfWritten } from "./item_encoder.ts";

/** An item that an upstream's event stands for: a token, or data with the JSON that it arrived as. */
export type ReadItem = string | { event?: string; data: unknown; json?: string };

/** An upstream's event, as `relay` puts it into a queue. */
export class Relayed extends SelfWritten {
  override readonly data: string;
  readonly #upstream: ServerSentEvent;
  readonly #read: () => readonly ReadItem[];

  /**
   * Creates an item.
   *
   * @param read Finds the items that the event stands for, where it is not passed on.
   */
  constructor(upstream: ServerSentEvent, read: () => readonly ReadItem[]) {
    super();
    this.data = upstream.data;
    this.#upstream = upstream;
    this.#read = read;
  }

  override write(writer: ItemWriter, framer: Framer): void {
    const upstream = this.#upstream;
    if (writer.writeWhole(this.data.length, (out) => framer.relayed?.(out, upstream))) return;
    for (const item of this.#read()) {
      if (typeof item === "string") writer.writeToken(item);
      // The name is the upstream's, and the JSON too, whose numbers are not rounded.
      else writer.writeJson(item.event, item.json ?? JSON.stringify(item.data), item.data);
    }
  }
}
