/**
 * The readers of one recording, and which of them is furthest ahead. Separate from the recording
 * because that says what follows from it: when the source has to wait.
 */
import type { Subscriber } from "./recording_owner.ts";

/** The readers of one recording: nearly always one, for whom a set would cost 0.3 KB on Bun. */
export class Readers {
  /** The only reader, as long as there has been no more than one at a time. */
  #only: Subscriber | undefined;
  #all: Set<Subscriber> | undefined;
  #fastest: Subscriber | undefined;

  get size(): number {
    return this.#all?.size ?? (this.#only === undefined ? 0 : 1);
  }

  /** The reader that is furthest ahead. */
  get fastest(): Subscriber | undefined {
    return this.#fastest;
  }

  /** Each of them, in the order in which they came. */
  get all(): Iterable<Subscriber> {
    return this.#all ?? (this.#only === undefined ? [] : [this.#only]);
  }

  add(subscriber: Subscriber): void {
    if (this.#all !== undefined) this.#all.add(subscriber);
    else if (this.#only === undefined) this.#only = subscriber;
    else if (this.#only !== subscriber) {
      this.#all = new Set([this.#only, subscriber]);
      this.#only = undefined;
    }
  }

  /** Returns whether it was one of them. */
  delete(subscriber: Subscriber): boolean {
    if (this.#all !== undefined) return this.#all.delete(subscriber);
    if (this.#only !== subscriber) return false;
    this.#only = undefined;
    return true;
  }

  /** Tells each of them that events wait, or that the end has come. */
  run(): void {
    if (this.#all === undefined) this.#only?.run();
    else for (const reader of this.#all) reader.run();
  }

  /** Called when a reader has moved on. */
  compare(subscriber: Subscriber): void {
    const fastest = this.#fastest;
    if (fastest === subscriber) return;
    if (fastest === undefined || subscriber.position > fastest.position) this.#fastest = subscriber;
  }

  /** Finds out anew which of them is furthest ahead. */
  compareAll(): void {
    this.forgetFastest();
    for (const reader of this.all) this.compare(reader);
  }

  /** From now on none of them is. */
  forgetFastest(): void {
    this.#fastest = undefined;
  }
}
