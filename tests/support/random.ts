/** Seeded chance and hostile strings for property tests: a failure names its seed and comes back. */

/** A generator of numbers from 0 to 1 (mulberry32): small, fast, the same everywhere. */
export function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** An integer from 0 to `below` - 1. */
export function int(chance: () => number, below: number): number {
  return Math.floor(chance() * below);
}

/** One of `choices`. */
export function pick<T>(chance: () => number, choices: readonly T[]): T {
  return choices[int(chance, choices.length)]!;
}

/** What breaks encoders: line breaks, fields in the text, NUL, BOM, halves of pairs, joiners. */
export const HOSTILE: readonly string[] = [
  " ",
  "  two",
  "\n",
  "\r",
  "\r\n",
  "\n\n",
  "\t",
  "\0",
  "\ufeff",
  "\u2028",
  "\u2029",
  "\u0085",
  ":",
  ": x",
  "data: x",
  "data:",
  "event: error",
  "id: 9",
  "retry: 1",
  "[DONE]",
  "\n\ndata: x\n\n",
  '"',
  "\\",
  '\\"',
  "\b\f",
  "\x7f",
  "é",
  "テスト",
  "世界",
  "😀",
  "👩‍👩‍👧",
  "\ud83d",
  "\ude00",
  "\ud83d\ude00",
  "a",
  "Hel",
  "lo ",
  "<script>",
  "null",
  "{}",
];

/** A string of up to `pieces` hostile pieces. */
export function hostile(chance: () => number, pieces: number): string {
  let text = "";
  for (let i = int(chance, pieces + 1); i > 0; i--) text += pick(chance, HOSTILE);
  return text;
}

/** The bytes cut at random places, some pieces empty. */
export function chunks(chance: () => number, bytes: Uint8Array): Uint8Array[] {
  const cuts = Array.from({ length: int(chance, 12) }, () => int(chance, bytes.length + 1));
  const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length];
  return edges.slice(1).map((to, i) => bytes.subarray(edges[i], to));
}
