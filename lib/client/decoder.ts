/**
 * Decodes a response to events: an event stream (HTML Standard, section 9.2.6), or lines of JSON.
 * Separate from `lib/sse/decode.ts` because a page has no room for what a relay wins by it: this one
 * is a fifth of its size, and counts characters where that counts bytes.
 */
import type { ServerSentEvent } from "../sse/event.ts";

/** A decoder of one stream, over as many responses as it takes. */
export class ClientDecoder {
  /** The id of the last event, also of one without data. */
  lastEventId: string;
  /** The reconnection time in ms that the stream sent last. */
  retry: number | undefined;

  readonly #isJson: boolean;
  readonly #maxLength: number;
  #text!: TextDecoder;
  /** Whether nothing was read yet: a BOM may come first. */
  #isFirst!: boolean;
  /** The unfinished line, and whether the text before it ended in a CR. */
  #rest!: string;
  #afterCr!: boolean;
  /** The unfinished event: its fields, and the length of their lines. */
  #data: string | undefined;
  #event!: string;
  #id!: string;
  #retry: number | undefined;
  #length!: number;

  /**
   * Creates a decoder.
   *
   * @param isJson Whether each line is an object of JSON.
   * @param maxLength UTF-16 units of the longest event.
   */
  constructor(isJson: boolean, maxLength: number, lastEventId: string) {
    this.#isJson = isJson;
    this.#maxLength = maxLength;
    this.lastEventId = lastEventId;
    this.reset();
  }

  /** Begins with another response. The last event id and the reconnection time stay. */
  reset(): void {
    // Node 26 takes a second BOM for the first one if its bytes come one by one.
    this.#text = new TextDecoder("utf-8", { ignoreBOM: true });
    this.#isFirst = true;
    this.#rest = "";
    this.#afterCr = false;
    this.#clear();
  }

  /**
   * Reads bytes, and appends the events that they complete. What the end cuts off is never given.
   *
   * @throws {Error} If an event is too large, or a line is not JSON.
   */
  feed(chunk: Uint8Array, events: ServerSentEvent[]): void {
    let text = this.#text.decode(chunk, { stream: true });
    if (text === "") return;
    if (this.#isFirst && text[0] === "\ufeff") text = text.slice(1);
    this.#isFirst = false;
    if (this.#afterCr && text[0] === "\n") text = text.slice(1);
    this.#afterCr = text.endsWith("\r");
    if (text.includes("\r")) text = text.replace(/\r\n?/g, "\n");
    const lines = text.split("\n");
    // The rest is joined and not searched again, so a long line in many chunks takes linear time.
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop()!;
    for (const line of lines) {
      if (this.#isJson) this.#readJson(line, events);
      else this.#readLine(line, events);
    }
    this.#check(this.#rest);
  }

  #check(line: string): void {
    if (this.#length + line.length > this.#maxLength) {
      throw Object.assign(new Error("An event is too large"), {
        code: "event_too_large",
      });
    }
  }

  #readJson(line: string, events: ServerSentEvent[]): void {
    this.#check(line);
    if (line.trim() === "") return;
    const { event = "message", data } = JSON.parse(line);
    events.push({
      event,
      data: JSON.stringify(data) ?? line,
      lastEventId: "",
    });
  }

  #readLine(line: string, events: ServerSentEvent[]): void {
    if (line === "") return this.#dispatch(events);
    const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line)!;
    if (name === "") return; // a comment
    this.#check(line);
    this.#length += line.length;
    if (name === "data") this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
    if (name === "event") this.#event = value;
    if (name === "id" && !value.includes("\0")) this.#id = value;
    // In force as soon as its line is read, even if the event is never finished.
    if (name === "retry" && /^\d+$/.test(value)) this.retry = this.#retry = Number(value);
  }

  #dispatch(events: ServerSentEvent[]): void {
    this.lastEventId = this.#id;
    if (this.#data !== undefined) {
      events.push({
        event: this.#event || "message",
        data: this.#data,
        lastEventId: this.#id,
        ...this.#retry !== undefined && { retry: this.#retry },
      });
    }
    this.#clear();
  }

  #clear(): void {
    this.#data = this.#retry = undefined;
    this.#event = "";
    this.#id = this.lastEventId;
    this.#length = 0;
  }
}
