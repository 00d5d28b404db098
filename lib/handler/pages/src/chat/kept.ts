/**
 * What survives a reload: a storage key of its own for each turn, so that no tab overwrites another's.
 * The text and the id of its last event are one value: wherever a page is left, they fit together.
 */

/** How an answer ended. */
export interface End {
  readonly kind: "done" | "stopped" | "failed";
  readonly note?: string | undefined;
}

/** A query and its answer, as far as they are kept. */
export interface Kept {
  readonly id: string;
  readonly query: string;
  text: string;
  reasoning: string;
  streamId?: string | undefined;
  lastEventId?: string | undefined;
  end?: End | undefined;
}

const PREFIX = `spillway ${location.pathname} `;
const MAX_KEPT = 50;
const FIELDS = ["query", "text", "reasoning", "streamId", "lastEventId", "end", "kind", "note"];

function stored<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch {
    // Denied or full: nothing survives a reload, and all else works.
    return undefined;
  }
}

/** Keeps a turn as it is now. */
export function save(turn: Kept): void {
  stored(() => localStorage.setItem(PREFIX + turn.id, JSON.stringify(turn, FIELDS)));
}

/** Keeps it no longer. */
export function forget(id: string): void {
  stored(() => localStorage.removeItem(PREFIX + id));
}

/** The turn that a storage key is of; `undefined` if it is of none. */
export function turnOfKey(key: string): string | undefined {
  return key.startsWith(PREFIX) ? key.slice(PREFIX.length) : undefined;
}

/** The fields of a turn as they were kept. */
export const fieldsOf = (json: string): Partial<Kept> => JSON.parse(json);

/** The latest turns, oldest first: each id, and what was kept under it. What is older is forgotten. */
export function keptTurns(): [id: string, fields: Partial<Kept>][] {
  const keys = stored(() => Object.keys(localStorage)) ?? [];
  const ids = keys.map(turnOfKey).filter((id) => id !== undefined).sort();
  for (const id of ids.splice(0, ids.length - MAX_KEPT)) forget(id);
  return ids.flatMap((id) => {
    const fields = stored(() => fieldsOf(localStorage.getItem(PREFIX + id)!));
    return fields ? [[id, fields]] : [];
  });
}

// The key is this tab's alone.
let givenKey: string | undefined;

/** Keeps the API key until the tab is closed. */
export function keepKey(key: string): void {
  givenKey = key;
  stored(() => sessionStorage.setItem(`${PREFIX}key`, key));
}

/** The header that sends the key, where there is one. */
export function authorization(): { authorization?: string } {
  const key = stored(() => sessionStorage.getItem(`${PREFIX}key`)) ?? givenKey;
  return key ? { authorization: `Bearer ${key}` } : {};
}
