/**
 * The corpus that every subject streams: seeded, realistic tokens of one to eight characters, some Japanese, some emoji.
 * Separate from the servers so that the load generator can compute the expected text by itself.
 *
 * A model's tokens are never interned literals: each arrives as a string of its own, out of a parser or a decoder.
 * `Corpus.token(i)` therefore slices a fresh string at every call, narrow ones from a Latin-1 text and wide ones
 * from a UTF-16 text, as `JSON.parse` would have made them. Nothing here is cached per token.
 */

const WORDS = [
  ["the", "of", "and", "to", "in", "is", "that", "for", "with", "as", "on", "are", "this", "can"],
  ["stream", "token", "server", "client", "event", "model", "reader", "buffer", "answer", "data"],
  ["function", "response", "because", "however", "request", "example", "between", "another"],
  ["ing", "ed", "s", "ly", "er", "tion", "re", "un", "able", "ment", "est", "ize"],
  [".", ",", ":", ";", "(", ")", "-", "'s", "?", "!", '"', "```", "=>", "{", "}", "1", "20", "\\"],
] as const;
const JAPANESE = "ストリーミングで応答を一文字ずつ返すことができますモデルは日本語も出力する";
const EMOJI = ["🚀", "😀", "👍", "🎉", "🌊", "✨", "👩‍💻", "🇯🇵"] as const;

/** A small seeded generator of numbers in [0, 1) (mulberry32), so that every run streams the same text. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function pick<T>(values: readonly T[], next: () => number): T {
  return values[Math.floor(next() * values.length)] as T;
}

/** One token: mostly words and punctuation, one in ten Japanese, one in forty an emoji. */
function draw(next: () => number): string {
  const kind = next();
  if (kind < 0.025) return pick(EMOJI, next);
  if (kind < 0.125) {
    const start = Math.floor(next() * (JAPANESE.length - 3));
    return JAPANESE.slice(start, start + 1 + Math.floor(next() * 3));
  }
  const word = pick(
    WORDS[kind < 0.55 ? 0 : kind < 0.7 ? 1 : kind < 0.76 ? 2 : kind < 0.85 ? 3 : 4]!,
    next,
  );
  return kind < 0.76 && word.length < 8 && next() < 0.85 ? ` ${word}` : word;
}

/** A text cut into tokens; `token(i)` slices a fresh string, the index wraps around at `length`. */
export class Corpus {
  readonly length: number;
  /** The characters of tokens that fit Latin-1, and of those that do not: separate, as a parser would keep them. */
  readonly #narrow: string;
  readonly #wide: string;
  /** Start and end of token i at 2i and 2i + 1; in the wide text where the start is negative (-1 - start). */
  readonly #cuts: Int32Array;

  constructor(length: number, seed: number) {
    const next = random(seed);
    const narrow: string[] = [];
    const wide: string[] = [];
    const cuts = new Int32Array(length * 2);
    let narrowEnd = 0;
    let wideEnd = 0;
    for (let i = 0; i < length; i++) {
      const token = draw(next);
      const isWide = token.charCodeAt(0) > 0xff;
      cuts[2 * i] = isWide ? -1 - wideEnd : narrowEnd;
      (isWide ? wide : narrow).push(token);
      cuts[2 * i + 1] = isWide ? (wideEnd += token.length) : (narrowEnd += token.length);
    }
    this.length = length;
    this.#narrow = flat(narrow);
    this.#wide = flat(wide);
    this.#cuts = cuts;
  }

  /** Keeps the engine from leaving out what makes a token flat. */
  #touched = 0;

  /**
   * A fresh string at every call: token `index` modulo the corpus' length. Bun's engine cuts lazily, and whoever
   * reads the characters first would pay; a model's client hands out what a parser has made, so the cut is made here.
   */
  token(index: number): string {
    const at = (index % this.length) * 2;
    const start = this.#cuts[at]!;
    const end = this.#cuts[at + 1]!;
    const token = start < 0 ? this.#wide.slice(-1 - start, end) : this.#narrow.slice(start, end);
    this.#touched ^= token.charCodeAt(0);
    return token;
  }
}

/** The same tokens as strings that are made once. */
export class InternedCorpus {
  readonly #tokens: string[];

  constructor(length: number, seed: number) {
    this.#tokens = tokens(length, seed);
  }

  token(index: number): string {
    return this.#tokens[index % this.#tokens.length]!;
  }
}

/** The engines join lazily; through the encoder the text becomes one flat string, so that slices cost the same everywhere. */
function flat(parts: string[]): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(
    new TextEncoder().encode(parts.join("")),
  );
}

/** The seed of every measurement. */
export const SEED = 20261122;

/** `length` fresh tokens of the seeded corpus. */
export function tokens(length: number, seed: number = SEED): string[] {
  const corpus = new Corpus(length, seed);
  return Array.from({ length }, (_, index) => corpus.token(index));
}

/** The same tokens as one text: what a client must have in the end. */
export function text(length: number, seed: number = SEED): string {
  return tokens(length, seed).join("");
}
