/**
 * The check of option names: a misspelled option would otherwise be ignored without a word. Separate
 * from the options so that every function that takes some checks them in the same way.
 */

/**
 * Rejects an option that does not exist.
 *
 * @param action What cannot be done with it, as `Cannot create the handler`.
 * @param group The option that holds these, as `limits`, if they are not at the top.
 * @throws {TypeError} If `options` is no object or has a name that is not `known`; the message has
 * the known name that is nearest.
 */
export function checkOptionNames(
  action: string,
  options: object,
  known: readonly string[],
  group?: string,
): void {
  // JavaScript may pass anything.
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`${action}: ${group ?? "options"} is ${options}, not an object`);
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const full = (name: string) => group === undefined ? name : `${group}.${name}`;
  const nearest = nearestOf(unknown, known);
  const hint = nearest === undefined ? "" : `; did you mean ${full(nearest)}?`;
  throw new TypeError(`${action}: unknown option ${full(unknown)}${hint}`);
}

/** The known name that differs least; `undefined` if more than a third of the name differs. */
function nearestOf(name: string, known: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let least = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = distanceOf(name.toLowerCase(), candidate.toLowerCase());
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

/**
 * How many characters have to be added, removed, replaced, or swapped with their neighbour (the
 * optimal string alignment distance).
 */
function distanceOf(from: string, to: string): number {
  let before: number[] = [];
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      const swaps = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      const swapped = swaps ? before[j - 2]! + 1 : Infinity;
      next.push(Math.min(replaced, swapped, row[j]! + 1, next[j - 1]! + 1));
    }
    before = row;
    row = next;
  }
  return row[to.length]!;
}
