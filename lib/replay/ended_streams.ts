/**
 * Recordings that have ended, in that order. Separate from the log because it needs the order twice:
 * of all streams, and of one owner's.
 */
import type { Recording } from "./recording.ts";

/** Recordings that have ended, oldest first. */
export class EndedStreams {
  /** When each of them ended, in ms. */
  readonly #ended = new Map<Recording, number>();
  /** The oldest one, or one before it that is gone; `#younger` iterates over those after it. */
  #oldest: Recording | undefined;
  #younger: MapIterator<Recording> = this.#ended.keys();

  /** When a recording that is among them ended, in ms. */
  timeOf(recording: Recording): number {
    return this.#ended.get(recording)!;
  }

  add(recording: Recording, nowMs: number): void {
    this.#ended.set(recording, nowMs);
  }

  delete(recording: Recording): void {
    if (!this.#ended.delete(recording) || recording === this.#oldest) return;
    // An iterator that does not move keeps alive what was deleted after its place.
    this.#oldest = undefined;
    this.#younger = this.#ended.keys();
  }

  /**
   * The stream that ended first. The iterator is kept because a map from which many entries were
   * deleted walks over all their places to find its first.
   */
  first(): Recording | undefined {
    while (this.#ended.size > 0) {
      if (this.#oldest !== undefined && this.#ended.has(this.#oldest)) return this.#oldest;
      this.#oldest = this.#younger.next().value;
      // The iterator has come to the end, and sees nothing that is added later.
      if (this.#oldest === undefined) this.#younger = this.#ended.keys();
    }
    return this.#oldest = undefined;
  }
}
