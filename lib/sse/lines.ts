/**
 * Where the lines of an event stream begin and end, in bytes and in text. Separate from the decoder
 * because it needs none of its state.
 */

export const LF = 0x0a;
export const CR = 0x0d;
export const COLON = 0x3a;
export const SPACE = 0x20;
/** The highest bit of each byte of a word: none is set in ASCII. */
export const HIGH = 0x80808080;

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Whether a word may have bytes below 0x0e, as LF and CR are: not zero if it has. */
function lowBytes(word: number): number {
  return (word - 0x0e0e0e0e) & ~word & HIGH;
}

/** Whether the line begins with `data:`. Five comparisons are faster than `startsWith` of the text. */
export function isData(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0x64 && bytes[at + 1] === 0x61 && bytes[at + 2] === 0x74 &&
    bytes[at + 3] === 0x61 && bytes[at + 4] === COLON;
}

/** The name that the standard knows at the beginning of a line, or `""`. */
export function nameAt(text: string, at: number): "data" | "event" | "id" | "retry" | "" {
  switch (text.charCodeAt(at)) {
    case 0x64:
      return text.startsWith("data", at) ? "data" : "";
    case 0x65:
      return text.startsWith("event", at) ? "event" : "";
    case 0x69:
      return text.startsWith("id", at) ? "id" : "";
    case 0x72:
      return text.startsWith("retry", at) ? "retry" : "";
    default:
      return "";
  }
}

/** Where a value begins that stands behind a colon: one space before it is not part of it. */
export function valueAt(text: string, at: number): number {
  return text.charCodeAt(at) === SPACE ? at + 1 : at;
}

/** As `indexOf` of a string, but the length where there is none. */
export function indexOf(text: string, char: string, from: number): number {
  const at = text.indexOf(char, from);
  return at < 0 ? text.length : at;
}

/**
 * The index of the last LF or CR from `from` up to `to`, or -1. Searches from the end, because it is
 * seldom far; with a view four bytes at a time.
 */
export function lastBreak(bytes: Uint8Array, from: number, to: number, view?: DataView): number {
  for (let at = to; at > from;) {
    if (view !== undefined && at - from >= 4 && lowBytes(view.getInt32(at - 4, true)) === 0) {
      at -= 4;
      continue;
    }
    const byte = bytes[--at];
    if (byte === LF || byte === CR) return at;
  }
  return -1;
}

/** The index of the first LF or CR at or after `from`; there must be one. */
export function firstBreak(bytes: Uint8Array, from: number): number {
  let at = from;
  while (bytes[at] !== LF && bytes[at] !== CR) at++;
  return at;
}
