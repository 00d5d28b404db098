/** Stream ids. An id is also the key to somebody's response: 128 bits that cannot be guessed. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/** Random bytes for many ids: each call to fetch them costs a microsecond or more. */
const pool = new Uint8Array(4096);
let used = pool.length;

/** A new stream id: 128 random bits as base64url, 22 characters. */
export function createStreamId(): string {
  if (used === pool.length) {
    crypto.getRandomValues(pool);
    used = 0;
  }
  // A string that grows by a character holds each of its steps on Bun: 0.7 KB an open stream.
  const digits: number[] = [];
  let bits = 0;
  let waiting = 0;
  for (const end = used + 16; used < end; used++) {
    bits = (bits << 8) | pool[used]!;
    // Bytes that were handed out must not stay in memory.
    pool[used] = 0;
    for (waiting += 8; waiting >= 6; waiting -= 6) digits.push(digit(bits >> (waiting - 6)));
  }
  digits.push(digit(bits << 4));
  return String.fromCharCode(...digits);
}

/** The code of the base64url digit of the last six bits. */
function digit(bits: number): number {
  return ALPHABET.charCodeAt(bits & 63);
}
