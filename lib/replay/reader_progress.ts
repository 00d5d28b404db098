/**
 * Whether the readers of a recording take anything. Separate from the recording because it is looked
 * at about once a second, and only where a log has little room: a look at the clock with each token
 * costs 0.4 µs on Deno.
 */
import type { Readers } from "./readers.ts";

/** After so many ms in which no reader takes anything, readers have stalled. */
const STALLED_MS = 5000;

/** How the readers of one recording get on. */
export class ReaderProgress {
  /** What all readers together had taken at the last look, in bytes, and when that had changed. */
  #taken = -1;
  #takenMs = NaN;

  /** Since when no reader takes anything, in ms. */
  get sinceMs(): number {
    return this.#takenMs;
  }

  /**
   * Looks at the readers of a stream of so many bytes. A reader that has everything waits for the
   * source, and has not stalled.
   *
   * - `taking`: one of them has taken something since the last look, or has everything.
   * - `stalled`: none has for 5 s, or there is none.
   */
  look(
    readers: Readers,
    bytes: number,
    nowMs: number,
  ): "taking" | "idle" | "stalled" {
    let taken = 0;
    let hasAll = false;
    for (const { position } of readers.all) {
      taken += position;
      if (position >= bytes) hasAll = true;
    }
    const isTaking = hasAll || taken !== this.#taken;
    if (isTaking) {
      this.#taken = taken;
      this.#takenMs = nowMs;
    }
    if (readers.size === 0) return "stalled";
    if (isTaking) return "taking";
    return nowMs - this.#takenMs >= STALLED_MS ? "stalled" : "idle";
  }
}
