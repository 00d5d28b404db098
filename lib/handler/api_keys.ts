/**
 * Authorization by API key. Separate from the access checks because comparing keys must not reveal
 * how much of a guess was right.
 */
import { sha256 } from "../values.ts";
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
async function ownerOf(key: string, known: readonly string[]): Promise<string | undefined> {
  const given = await digestOf(key);
  let owner: string | undefined;
  // Every digest is compared to its end, so that a match takes as long as a mismatch.
  for (const digest of known) {
    let difference = 0;
    for (let i = 0; i < digest.length; i++) {
      difference |= digest.charCodeAt(i) ^ given.charCodeAt(i);
    }
    if (difference === 0) owner = nameOf(digest);
  }
  return owner;
}

function digestOf(key: string): Promise<string> {
  return sha256(new TextEncoder().encode(key));
}

/** An owner name that identifies a key without revealing it, not even to readers of the log's store. */
function nameOf(digest: string): string {
  return `key-${digest.slice(0, 16)}`;
}
