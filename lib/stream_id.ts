/**
 * Names for generations. They stand apart because they are also the key to somebody's answer: 128
 * bits that cannot be guessed.
 */

/** 128 random bits as base64url, 22 characters. */
export function streamId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").slice(0, 22);
}
