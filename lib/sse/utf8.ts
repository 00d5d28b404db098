/**
 * A growing byte buffer with one hand-written UTF-8 loop. It stands apart from the framing because
 * this loop is what a token costs. The bare stream of the benchmark calls `TextEncoder.encode` per token
 * instead: compare the two (benchmark case: burst).
 */

/**
 * Scratches that wait for the next writer, so that a burst allocates nothing but what it hands out: small ones
 * for paced tokens, large ones for all that a queue lets wait (64 KiB). At most 1 MiB and 4.5 MiB.
 */
const SMALL: Pool = { bytes: 4 * 1024, most: 256, spare: [] };
const LARGE: Pool = { bytes: 72 * 1024, most: 64, spare: [] };
/** From here on a constant is copied faster by the runtime than by a loop (benchmark case: formats). */
const LONG = 48;
const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();

interface Pool {
  readonly bytes: number;
  readonly most: number;
  readonly spare: Uint8Array[];
}

/** Bytes of a constant, to be built once. */
export function bytesOf(text: string): Uint8Array {
  return encoder.encode(text);
}

/** What is written in place of some ASCII characters. */
export class Escapes {
  /** By character code: 1 where the character is replaced. Bytes, for the loop looks here for each character. */
  readonly marked: Uint8Array = new Uint8Array(128);
  readonly #bytes: Uint8Array[] = [];
  /** Whether a lone surrogate is written as JSON's `\udXXX`; else it becomes U+FFFD. */
  readonly lossless: boolean;

  /** @param replace What to write for an ASCII character; `undefined` leaves it as it is. */
  constructor(replace: (char: string) => string | undefined, lossless = false) {
    this.lossless = lossless;
    for (let code = 0; code < 128; code++) {
      const replacement = replace(String.fromCharCode(code));
      if (replacement === undefined) continue;
      this.marked[code] = 1;
      this.#bytes[code] = bytesOf(replacement);
    }
  }

  /** The replacement of a marked character. */
  bytes(code: number): Uint8Array {
    return this.#bytes[code]!;
  }
}

/** Every character as it is. */
export const VERBATIM: Escapes = new Escapes(() => undefined);

/** The inside of a JSON string (RFC 8259, section 7). */
const JSON_STRING = new Escapes((char) => {
  const escaped = JSON.stringify(char).slice(1, -1);
  return escaped === char ? undefined : escaped;
}, true);

/**
 * Collects bytes; {@linkcode ByteWriter.take} hands them out and starts anew. An empty writer holds no
 * memory, so that ten thousand idle streams do not hold ten thousand buffers.
 */
export class ByteWriter {
  #bytes: Uint8Array = EMPTY;
  #length = 0;

  /** Bytes written since the last `take`. */
  get length(): number {
    return this.#length;
  }

  /** Forgets what was written after the first `length` bytes. */
  truncate(length: number): void {
    this.#length = length;
    if (length === 0) this.#release();
  }

  /** The bytes, in a buffer that nobody else sees: a sink may transfer it. */
  take(): Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes as Uint8Array<ArrayBuffer>;
    const length = this.#length;
    this.#length = 0;
    if (bytes.length > LARGE.bytes) {
      this.#bytes = EMPTY;
      return bytes.subarray(0, length);
    }
    const taken = bytes.slice(0, length);
    this.#release();
    return taken;
  }

  /** Lends the bytes to one call that copies them, and starts anew. */
  lend(borrow: (bytes: Uint8Array) => void): void {
    borrow(this.#bytes.subarray(0, this.#length));
    this.truncate(0);
  }

  /** Appends prepared bytes. */
  raw(constant: Uint8Array): void {
    this.write(constant, "", VERBATIM, EMPTY);
  }

  /** Appends text as UTF-8. A lone surrogate becomes U+FFFD. */
  utf8(text: string): void {
    this.write(EMPTY, text, VERBATIM, EMPTY);
  }

  /** Appends `head`, the inside of a JSON string, and `tail`. A lone surrogate is escaped and arrives as it was. */
  json(head: Uint8Array, text: string, tail: Uint8Array): void {
    this.write(head, text, JSON_STRING, tail);
  }

  /**
   * Appends `head`, `text` with its escapes, and `tail`. The one loop: one check of the room, one pass
   * over the text, nothing allocated.
   */
  write(head: Uint8Array, text: string, escapes: Escapes, tail: Uint8Array): void {
    const size = text.length;
    const most = this.#length + head.length + size * 3 + tail.length;
    if (most > this.#bytes.length) this.#grow(most);
    let bytes = this.#bytes;
    let at = this.#length;
    const marked = escapes.marked;
    if (head.length < LONG) { for (let i = 0; i < head.length; i++) bytes[at++] = head[i]!; }
    else {
      bytes.set(head, at);
      at += head.length;
    }
    for (let i = 0; i < size; i++) {
      const code = text.charCodeAt(i);
      if (code < 0x80 && marked[code] === 0) bytes[at++] = code;
      else if (code >= 0x800 && (code & 0xf800) !== 0xd800) {
        bytes[at++] = 0xe0 | (code >> 12);
        bytes[at++] = 0x80 | ((code >> 6) & 0x3f);
        bytes[at++] = 0x80 | (code & 0x3f);
      } else {
        this.#length = at;
        i += this.#writeRare(code, text.charCodeAt(i + 1), escapes, (size - i) * 3 + tail.length);
        at = this.#length;
        bytes = this.#bytes;
      }
    }
    if (tail.length < LONG) { for (let i = 0; i < tail.length; i++) bytes[at++] = tail[i]!; }
    else {
      bytes.set(tail, at);
      at += tail.length;
    }
    this.#length = at;
  }

  /** A replaced, two-byte or surrogate character. Answers how many units of `next` it used: 0 or 1. */
  #writeRare(code: number, next: number, escapes: Escapes, toCome: number): 0 | 1 {
    if (code < 0x80) {
      const replacement = escapes.bytes(code);
      this.#append(replacement, toCome);
      // One line break, where breaks are replaced at all.
      return code === 0x0d && next === 0x0a && !escapes.lossless ? 1 : 0;
    }
    const bytes = this.#bytes;
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
    this.#append(bytesOf(escapes.lossless ? `\\u${code.toString(16)}` : "\ufffd"), toCome);
    return 0;
  }

  /** Appends bytes that were not reckoned with, and keeps the room for what was. */
  #append(extra: Uint8Array, toCome: number): void {
    const most = this.#length + extra.length + toCome;
    if (most > this.#bytes.length) this.#grow(most);
    this.#bytes.set(extra, this.#length);
    this.#length += extra.length;
  }

  #grow(needed: number): void {
    const old = this.#bytes;
    this.#bytes = needed <= SMALL.bytes
      ? fromPool(SMALL)
      : needed <= LARGE.bytes
      ? fromPool(LARGE)
      : new Uint8Array(Math.max(needed, old.length * 2));
    if (old === EMPTY) return;
    this.#bytes.set(old.subarray(0, this.#length));
    toPool(old);
  }

  #release(): void {
    if (this.#bytes !== EMPTY) toPool(this.#bytes);
    this.#bytes = EMPTY;
  }
}

function fromPool({ spare, bytes }: Pool): Uint8Array {
  return spare.pop() ?? new Uint8Array(bytes);
}

function toPool(scratch: Uint8Array): void {
  const pool = scratch.length === SMALL.bytes ? SMALL : LARGE;
  if (scratch.length === pool.bytes && pool.spare.length < pool.most) pool.spare.push(scratch);
}
