/**
 * Names for generations. They stand apart because they are also the key to somebody's answer: 128
 * bits that cannot be guessed.
 */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/** Random bytes are fetched for many ids at once: each call costs a microsecond and more. */
const pool = new Uint8Array(4096);
let used = pool.length;

/** 128 random bits as base64url, 22 characters. */
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
    // What was handed out stays nowhere.
    pool[used] = 0;
    for (waiting += 8; waiting >= 6; waiting -= 6) id += ALPHABET[(bits >> (waiting - 6)) & 63];
  }
  return id + ALPHABET[(bits << (6 - waiting)) & 63];
}
