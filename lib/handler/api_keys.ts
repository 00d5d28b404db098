/**
 * Authorization by API key. Separate from the access checks because comparing keys must not reveal
 * how much of a guess was right.
 */
import type { AccessOptions } from "./access.ts";

/**
 * An `authorize` function for callers with one of `keys`, sent as `Authorization: Bearer` or, as
 * Anthropic's clients do, `X-Api-Key`. Where both are sent, one that is right is enough, for tools send
 * a key of another service beside ours; the bearer's owner goes first. Each key is an owner of its own.
 */
export function apiKeyAuth(keys: readonly string[]): NonNullable<AccessOptions["authorize"]> {
  const known = Promise.all(keys.map(digestOf));
  return async ({ headers }) => {
    const [, bearer] = /^Bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "") ?? [];
    const digests = await known;
    const [first, second] = await Promise.all(
      [bearer, headers.get("x-api-key")].map((key) => key ? ownerOf(key, digests) : undefined),
    );
    return first ?? second;
  };
}

/** The owner of a key; `undefined` if it is none of ours. */
async function ownerOf(
  key: string,
  known: readonly Uint8Array[],
): Promise<string | undefined> {
  const given = await digestOf(key);
  let owner: string | undefined;
  // Every digest is compared to its end, so that a match takes as long as a mismatch.
  for (const digest of known) {
    let difference = 0;
    for (let i = 0; i < digest.length; i++) difference |= digest[i]! ^ given[i]!;
    if (difference === 0) owner = nameOf(digest);
  }
  return owner;
}

async function digestOf(key: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
}

/** An owner name that identifies a key without revealing it, not even to readers of the log's store. */
function nameOf(digest: Uint8Array): string {
  return `key-${
    digest.subarray(0, 8).reduce((hex, byte) => hex + byte.toString(16).padStart(2, "0"), "")
  }`;
}
