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
  /** The conversation that it is of: the id of its first turn. */
  readonly chat: string;
  readonly query: string;
  /** The model that was asked, where one was picked. */
  readonly model?: string | undefined;
  text: string;
  reasoning: string;
  streamId?: string | undefined;
  lastEventId?: string | undefined;
  end?: End | undefined;
}

const PREFIX = `spillway ${location.pathname} `;
const FIELDS = [
  "chat",
  "query",
  "model",
  "text",
  "reasoning",
  "streamId",
  "lastEventId",
  "end",
  "kind",
  "note",
];

function stored<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch {
    // Denied or full: nothing survives a reload, and all else works.
    return undefined;
  }
}

/** Keeps a turn as it is now. Returns whether there was room for it. */
export function save(turn: Kept): boolean {
  return stored(() => {
    localStorage.setItem(PREFIX + turn.id, JSON.stringify(turn, FIELDS));
    return true;
  }) ?? false;
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

/** Every kept turn, oldest first: each id, and what was kept under it. */
export function keptTurns(): [id: string, fields: Partial<Kept>][] {
  const keys = stored(() => Object.keys(localStorage)) ?? [];
  return keys.map(turnOfKey).filter((id) => id !== undefined).sort().flatMap((id) => {
    const fields = stored(() => fieldsOf(localStorage.getItem(PREFIX + id)!));
    return fields ? [[id, fields]] : [];
  });
}

/** Keeps a word until the tab is closed. */
export function remember(name: string, value: string): void {
  stored(() => sessionStorage.setItem(PREFIX + name, value));
}

/** What {@linkcode remember} has kept. */
export const remembered = (name: string): string | undefined =>
  stored(() => sessionStorage.getItem(PREFIX + name)) ?? undefined;

// The key is this tab's alone.
let givenKey: string | undefined;

/** Keeps the API key until the tab is closed. */
export function keepKey(key: string): void {
  givenKey = key;
  remember("key", key);
}

/** The header that sends the key, where there is one. */
export function authorization(): { authorization?: string } {
  const key = remembered("key") ?? givenKey;
  return key ? { authorization: `Bearer ${key}` } : {};
}
