/**
 * The events of one stream, as bytes in pages. Separate from the recording because a stream of
 * another process is held in pages as well, without a generation.
 */

/** A page of a stream: complete events, one after the other. */
export interface EventPage {
  /** Number of the page's first event; `next` is the number after its last. */
  first: number;
  next: number;
  /**
   * Where the page begins, in bytes from the start of the pages; less than 0 if it has a heartbeat
   * before the first event.
   */
  readonly start: number;
  bytes: Uint8Array<ArrayBuffer>;
  length: number;
  /** The next page; absent if this is the last one, or was dropped. */
  after: EventPage | undefined;
}

/** The owner of pages. */
export interface PagesOwner {
  /** Called when so many bytes more are held, or fewer. Returns whether there is room for more. */
  held(bytes: number): boolean;
}

/**
 * The size of a long stream's pages, in bytes; a stream is trimmed by entire pages. No page grows:
 * with all its copies that was a sixth of what a paced token costs on Bun.
 */
export const PAGE_BYTES: number = 16 * 1024;
const FIRST_PAGE_BYTES = 512;
/** Bun keeps so many bytes among its objects; more is a block of its own, which costs more. */
const SECOND_PAGE_BYTES = 1000;
/**
 * The length, in bytes, from which the runtime copies faster than a loop. For less, and so for each
 * paced token, it takes as long to make the view that it copies from, which on Bun also gives the
 * page a buffer object of 0.3 KB.
 */
const LONG = 192;
const LF = 0x0a;
/** The heartbeat that a reader is given before the first event, and after a silence. */
export const HEARTBEAT: Uint8Array<ArrayBuffer> = new TextEncoder().encode(":\n");

const NOTHING = new Uint8Array(0);

/** Events in memory, the oldest of which can be dropped. There is always one page. */
export class EventPages {
  readonly #owner: PagesOwner;
  /** The oldest page; `#tail` is the newest. */
  #head: EventPage;
  #tail: EventPage;

  /**
   * Creates pages without events.
   *
   * @param first Number of the first event that will be appended.
   */
  constructor(owner: PagesOwner, first = 1) {
    this.#owner = owner;
    // It begins as the first reader's body does, which so is one part.
    const bytes = first === 1 ? HEARTBEAT : NOTHING;
    const page = emptyPage(first, 0 - bytes.length, bytes);
    page.length = bytes.length;
    this.#head = this.#tail = page;
    owner.held(bytes.length);
  }

  /** The oldest page. */
  get head(): EventPage {
    return this.#head;
  }

  /** Number of the first event that is held; one past the last where none is. */
  get firstEvent(): number {
    return this.#head.first;
  }

  /** Number of the last event. */
  get lastEvent(): number {
    return this.#tail.next - 1;
  }

  /** Number of bytes since the start of the pages, dropped or not. */
  get bytes(): number {
    return this.#tail.start + this.#tail.length;
  }

  /** Number of bytes of memory. */
  get heldBytes(): number {
    let held = 0;
    for (let page: EventPage | undefined = this.#head; page; page = page.after) {
      held += page.bytes.length;
    }
    return held;
  }

  /**
   * Appends the first `length` bytes of `bytes`: complete events, of which the last is number
   * `lastEvent`. Returns whether there is room for more.
   *
   * @param isEnd Whether no more will come.
   */
  append(
    bytes: Uint8Array,
    lastEvent: number,
    length: number = bytes.length,
    isEnd = false,
  ): boolean {
    let tail = this.#tail;
    let room = true;
    const wanted = tail.length + length;
    if (wanted > tail.bytes.length) {
      if (tail.next === tail.first) {
        const page = new Uint8Array(isEnd ? wanted : Math.max(wanted, FIRST_PAGE_BYTES));
        copy(tail.bytes, tail.length, page, 0);
        room = this.#owner.held(page.length - tail.bytes.length);
        tail.bytes = page;
      } else {
        const size = isEnd ? length : Math.max(length, this.#nextSize());
        tail = emptyPage(tail.next, tail.start + tail.length, new Uint8Array(size));
        this.#tail.after = tail;
        this.#tail = tail;
        room = this.#owner.held(tail.bytes.length);
      }
    }
    copy(bytes, length, tail.bytes, tail.length);
    tail.length += length;
    tail.next = lastEvent + 1;
    return room;
  }

  /** The size of a further page, which leaves little unused of what the stream holds. */
  #nextSize(): number {
    const held = this.bytes - this.#head.start;
    return Math.min(PAGE_BYTES, Math.max(SECOND_PAGE_BYTES, Math.floor(held / 4)));
  }

  /** Whether there is a page that can be dropped. */
  get canDrop(): boolean {
    return this.#head !== this.#tail;
  }

  /** Drops the oldest page, which is not the only one. Returns whether there is room for more. */
  drop(): boolean {
    const head = this.#head;
    this.#head = head.after!;
    // A reader that stands on this page must not keep all later ones alive.
    head.after = undefined;
    return this.#owner.held(-head.bytes.length);
  }

  /** Drops the oldest pages, but those that have the last `bytes` bytes, and the newest one. */
  dropTo(bytes: number): void {
    while (this.canDrop && this.bytes - this.head.start > bytes) this.drop();
  }

  /** Whether {@linkcode dropTo} would drop something. */
  holdsMoreThan(bytes: number): boolean {
    return this.canDrop && this.bytes - this.head.start > bytes;
  }

  /** Frees the unused memory of a stream that has ended. */
  shrink(): void {
    const tail = this.#tail;
    const spare = tail.bytes.length - tail.length;
    if (spare === 0) return;
    tail.bytes = tail.bytes.slice(0, tail.length);
    this.#owner.held(-spare);
  }

  /** The page that has the event after number `event`, or will have it. */
  pageAfter(event: number): EventPage {
    let page = this.#head;
    while (page.next <= event + 1 && page.after) page = page.after;
    return page;
  }

  /**
   * Where event number `event` ends, in bytes; if that event is not held, where the held events
   * begin.
   */
  positionAfter(event: number): number {
    const page = this.pageAfter(event);
    return page.start + (event + 1 < page.next ? offsetOf(page, event + 1) : page.length);
  }
}

/** Copies the first `length` bytes of `from` to `at`. */
function copy(from: Uint8Array, length: number, to: Uint8Array, at: number): void {
  if (length < LONG) { for (let i = 0; i < length; i++) to[at + i] = from[i]!; }
  else to.set(length === from.length ? from : from.subarray(0, length), at);
}

function emptyPage(first: number, start: number, bytes: Uint8Array<ArrayBuffer>): EventPage {
  return { first, next: first, start, bytes, length: 0, after: undefined };
}

/** The offset of event number `wanted` in a page: events end in a blank line and hold none. */
export function offsetOf({ first, start, bytes, length }: EventPage, wanted: number): number {
  let at = Math.max(0, -start);
  for (let event = first; event < wanted && at < length; event++) {
    while (at < length && !(bytes[at] === LF && bytes[at + 1] === LF)) at++;
    at += 2;
  }
  return at;
}
