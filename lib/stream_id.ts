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
  let id = "";
  let bits = 0;
  let waiting = 0;
  for (const end = used + 16; used < end; used++) {
    bits = (bits << 8) | pool[used]!;
    // Bytes that were handed out must not stay in memory.
    pool[used] = 0;
    for (waiting += 8; waiting >= 6; waiting -= 6) id += digit(bits >> (waiting - 6));
  }
  return id + digit(bits << (6 - waiting));
}

/** The base64url digit of the last six bits. */
function digit(bits: number): string {
  return ALPHABET[bits & 63]!;
}
