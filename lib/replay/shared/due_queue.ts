/**
 * What is to be done when, earliest first. Separate from the writer because it knows only times.
 */

/** Something that is due at a time. */
export interface Due {
  /** When it is due, in ms; `Infinity` if it is not in the queue. Written by the queue alone. */
  dueMs: number;
}

/**
 * A queue by due time. Times are rounded up to slots, so that a thousand items cost no more than
 * the slots that they are in, and what is due at about one time is done at once.
 */
export class DueQueue<T extends Due> {
  readonly #slotMs: number;
  /** The items of each slot, by the time of the slot. */
  readonly #slots = new Map<number, Set<T>>();

  constructor(slotMs: number) {
    this.#slotMs = slotMs;
  }

  /** When the next item is due, in ms; `Infinity` if there is none. */
  get nextMs(): number {
    let nextMs = Infinity;
    for (const slotMs of this.#slots.keys()) nextMs = Math.min(nextMs, slotMs);
    return nextMs;
  }

  /** Adds an item, or moves it. */
  set(item: T, dueMs: number): void {
    const slotMs = Math.ceil(dueMs / this.#slotMs) * this.#slotMs;
    if (slotMs === item.dueMs) return;
    this.delete(item);
    item.dueMs = slotMs;
    let slot = this.#slots.get(slotMs);
    if (slot === undefined) this.#slots.set(slotMs, slot = new Set());
    slot.add(item);
  }

  delete(item: T): void {
    const slot = this.#slots.get(item.dueMs);
    if (slot?.delete(item) && slot.size === 0) this.#slots.delete(item.dueMs);
    item.dueMs = Infinity;
  }

  /** The items that are due, earliest first. They stay in the queue. */
  due(nowMs: number): T[] {
    const slots = [...this.#slots.keys()].filter((slotMs) => slotMs <= nowMs);
    return slots.sort((a, b) => a - b).flatMap((slotMs) => [...this.#slots.get(slotMs)!]);
  }
}
