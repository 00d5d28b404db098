/**
 * A growing byte buffer with one hand-written UTF-8 loop. Separate from the encoder because this
 * loop is what a token costs. The bare stream of the benchmark calls `TextEncoder.encode` per token
 * instead: compare the two (benchmark case: burst).
 */

/**
 * Pools of spare buffers for the next writer, so that a burst allocates only what it hands out:
 * small ones for paced tokens, large ones for all that a queue lets wait (64 KiB). At most 1 MiB
 * and 4.5 MiB.
 */
const SMALL: Pool = { bytes: 4 * 1024, most: 256, spare: [] };
const LARGE: Pool = { bytes: 72 * 1024, most: 64, spare: [] };
const WORD_BYTES = 8;
/**
 * The length, in bytes, from which the runtime copies a constant faster than a loop of words,
 * roughly: measured from 48 to 240 bytes.
 */
const LONG = 96;
const encoder = new TextEncoder();

interface Pool {
  readonly bytes: number;
  readonly most: number;
  readonly spare: Scratch[];
}

/** A buffer that can be written by bytes and by words. */
class Scratch {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.view = new DataView(this.bytes.buffer);
  }
}

const EMPTY = new Scratch(0);

/**
 * Prepared text. It is copied eight bytes at a time, as floating-point numbers. The last word is
 * written entirely; its excess bytes are overwritten by what follows. Writing a token in JSON byte
 * by byte takes Deno 1.6 times and Bun 1.25 times as long (benchmark case: burst, json). UTF-8 is
 * never a NaN, whose bits alone could change in such a copy.
 */
export class Constant {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Length of the text in bytes; less than `words` holds where the text may grow. */
  length: number;
  /** The bytes, and zeros up to a full word. */
  readonly words: DataView;
  /** Bytes that have to be free where the constant is written. */
  readonly room: number;

  constructor(text: string) {
    const bytes = encoder.encode(text);
    this.length = bytes.length;
    this.room = Math.ceil(bytes.length / WORD_BYTES) * WORD_BYTES;
    const { bytes: padded, view } = new Scratch(this.room);
    padded.set(bytes);
    this.bytes = padded.subarray(0, bytes.length);
    this.words = view;
  }
}

/** Copies a constant to `at`, where its `room` is free. Returns where it ends. */
function copy({ bytes, view }: Scratch, at: number, constant: Constant): number {
  const { length, words } = constant;
  if (length >= LONG) bytes.set(constant.bytes, at);
  else {
    for (let i = 0; i < length; i += WORD_BYTES) {
      view.setFloat64(at + i, words.getFloat64(i, true), true);
    }
  }
  return at + length;
}

/** Replacements for some ASCII characters. */
export class Escapes {
  /**
   * By character code: 1 where the character is replaced. A byte array, because the loop reads it
   * for each character.
   */
  readonly marked: Uint8Array = new Uint8Array(128);
  readonly #replacements: Constant[] = [];
  /** Whether a lone surrogate is written as JSON's `\udXXX`; else it becomes U+FFFD. */
  readonly lossless: boolean;

  /**
   * Builds the table of replacements.
   *
   * @param replace What to write for an ASCII character; `undefined` leaves it unchanged.
   */
  constructor(replace: (char: string) => string | undefined, lossless = false) {
    this.lossless = lossless;
    for (let code = 0; code < 128; code++) {
      const replacement = replace(String.fromCharCode(code));
      if (replacement === undefined) continue;
      this.marked[code] = 1;
      this.#replacements[code] = new Constant(replacement);
    }
  }

  /** The replacement of a marked character. */
  replacement(code: number): Constant {
    return this.#replacements[code]!;
  }
}

/** What stands before and after a variable text, built once, and the replacements within the text. */
export interface Frame {
  /**
   * What stands before the text.
   *
   * @internal
   */
  readonly head: Constant;
  /**
   * What stands after the text.
   *
   * @internal
   */
  readonly tail: Constant;
  /**
   * The replacements within the text.
   *
   * @internal
   */
  readonly escapes: Escapes;
}

/** The frame that writes text unchanged. A lone surrogate becomes U+FFFD. */
export const BARE: Frame = frameOf("", new Escapes(() => undefined), "");

/**
 * Escapes for the inside of a JSON string (RFC 8259, section 7). A lone surrogate is escaped and
 * arrives unchanged.
 */
const JSON_STRING = new Escapes((char) => {
  const escaped = JSON.stringify(char).slice(1, -1);
  return escaped === char ? undefined : escaped;
}, true);

export function frameOf(head: string, escapes: Escapes, tail: string): Frame {
  return { head: new Constant(head), tail: new Constant(tail), escapes };
}

/** A frame around the inside of a JSON string. */
export function jsonFrame(head: string, tail: string): Frame {
  return frameOf(head, JSON_STRING, tail);
}

/** Copies bytes that are lent to it. */
export interface Borrower {
  /** Copies the first `length` bytes: the others are of other streams. */
  borrow(bytes: Uint8Array<ArrayBuffer>, length: number): void;
}

/**
 * Collects bytes; {@linkcode ByteWriter.take} returns them and starts anew. An empty writer holds
 * no memory, so that ten thousand idle streams do not hold ten thousand buffers.
 */
export class ByteWriter {
  #scratch: Scratch = EMPTY;
  #length = 0;

  /** Bytes written since the last `take`. */
  get length(): number {
    return this.#length;
  }

  /** Drops what was written after the first `length` bytes. */
  truncate(length: number): void {
    this.#length = length;
    if (length === 0) this.#release();
  }

  /** Returns the bytes in a buffer that nothing else uses: a sink may transfer it. */
  take(): Uint8Array<ArrayBuffer> {
    const { bytes } = this.#scratch;
    const length = this.#length;
    this.#length = 0;
    if (bytes.length > LARGE.bytes) {
      this.#scratch = EMPTY;
      return bytes.subarray(0, length);
    }
    const taken = bytes.slice(0, length);
    this.#release();
    return taken;
  }

  /** Lends the bytes to a borrower, and starts anew. */
  lend(borrower: Borrower): void {
    borrower.borrow(this.#scratch.bytes, this.#length);
    this.truncate(0);
  }

  /** Appends prepared bytes. */
  raw(constant: Constant): void {
    this.#append(constant, 0);
  }

  /** Appends text as UTF-8. A lone surrogate becomes U+FFFD. */
  text(text: string): void {
    this.write(BARE, text);
  }

  /**
   * Appends `text` in its frame. The one loop: one check of the room, one pass over the text, no
   * allocation.
   */
  write(frame: Frame, text: string): void {
    const { head, tail, escapes } = frame;
    const size = text.length;
    const most = this.#length + head.room + size * 3 + tail.room;
    if (most > this.#scratch.bytes.length) this.#grow(most);
    let scratch = this.#scratch;
    let bytes = scratch.bytes;
    const { marked } = escapes;
    let at = copy(scratch, this.#length, head);
    for (let i = 0;; i++) {
      let code = 0;
      while (i < size && (code = text.charCodeAt(i)) < 0x80 && marked[code] === 0) {
        bytes[at++] = code;
        i++;
      }
      if (i >= size) break;
      if (code >= 0x800 && (code & 0xf800) !== 0xd800) {
        bytes[at++] = 0xe0 | (code >> 12);
        bytes[at++] = 0x80 | ((code >> 6) & 0x3f);
        bytes[at++] = 0x80 | (code & 0x3f);
      } else {
        this.#length = at;
        i += this.#writeSlow(code, text.charCodeAt(i + 1), escapes, (size - i) * 3 + tail.room);
        at = this.#length;
        scratch = this.#scratch;
        bytes = scratch.bytes;
      }
    }
    this.#length = copy(scratch, at, tail);
  }

  /**
   * Writes a replaced, two-byte or surrogate character. Returns how many units of `next` it used: 0
   * or 1.
   */
  #writeSlow(code: number, next: number, escapes: Escapes, toCome: number): 0 | 1 {
    if (code < 0x80) {
      this.#append(escapes.replacement(code), toCome);
      // CRLF is one line break, where line breaks are replaced at all.
      return code === 0x0d && next === 0x0a && !escapes.lossless ? 1 : 0;
    }
    const { bytes } = this.#scratch;
    let at = this.#length;
    if (code < 0x800) {
      bytes[at++] = 0xc0 | (code >> 6);
      bytes[at++] = 0x80 | (code & 0x3f);
      this.#length = at;
      return 0;
    }
    if (code < 0xdc00 && (next & 0xfc00) === 0xdc00) {
      const point = 0x10000 + ((code & 0x3ff) << 10) + (next & 0x3ff);
      bytes[at++] = 0xf0 | (point >> 18);
      bytes[at++] = 0x80 | ((point >> 12) & 0x3f);
      bytes[at++] = 0x80 | ((point >> 6) & 0x3f);
      bytes[at++] = 0x80 | (point & 0x3f);
      this.#length = at;
      return 1;
    }
    this.#append(
      new Constant(escapes.lossless ? `\\u${code.toString(16)}` : "\ufffd"),
      toCome,
    );
    return 0;
  }

  /** Appends bytes that the room did not include, and keeps the room for those that it did. */
  #append(extra: Constant, toCome: number): void {
    const most = this.#length + extra.room + toCome;
    if (most > this.#scratch.bytes.length) this.#grow(most);
    this.#length = copy(this.#scratch, this.#length, extra);
  }

  #grow(needed: number): void {
    const old = this.#scratch;
    this.#scratch = needed <= SMALL.bytes
      ? fromPool(SMALL)
      : needed <= LARGE.bytes
      ? fromPool(LARGE)
      : new Scratch(Math.max(needed, old.bytes.length * 2));
    if (old === EMPTY) return;
    this.#scratch.bytes.set(old.bytes.subarray(0, this.#length));
    toPool(old);
  }

  #release(): void {
    if (this.#scratch !== EMPTY) toPool(this.#scratch);
    this.#scratch = EMPTY;
  }
}

function fromPool({ spare, bytes }: Pool): Scratch {
  return spare.pop() ?? new Scratch(bytes);
}

function toPool(scratch: Scratch): void {
  const { length } = scratch.bytes;
  const pool = length === SMALL.bytes ? SMALL : LARGE;
  if (length === pool.bytes && pool.spare.length < pool.most) pool.spare.push(scratch);
}
