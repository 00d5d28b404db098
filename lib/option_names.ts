/**
 * The check of option names: a misspelled option would otherwise be ignored without a word. Separate
 * from the options so that every function that takes some checks them in the same way.
 */
import { isObject } from "./values.ts";

/**
 * Rejects an option that does not exist.
 *
 * @param action What cannot be done with it, as `Cannot create the handler`; then the option that
 * holds these, as `Cannot create the handler: limits`, if they are not at the top.
 * @throws {TypeError} If `options` is no object or has a name that is not `known`; the message has
 * the known name that is nearest.
 */
export function checkOptionNames(
  action: string,
  options: object,
  known: readonly string[],
): void {
  // JavaScript may pass anything.
  if (!isObject(options)) throw new TypeError(`${action}: ${options} is no object of options`);
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const nearest = nearestOf(unknown, known);
  const hint = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  throw new TypeError(`${action}: unknown option ${unknown}${hint}`);
}

/**
 * The known name that differs least; `undefined` if more than a third of the name differs. Of a short
 * name two characters may differ, but not more than half of it.
 */
function nearestOf(name: string, known: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let least = Math.max(Math.min(2, Math.floor(name.length / 2)), name.length / 3) + 1;
  for (const candidate of known) {
    const distance = distanceOf(name.toLowerCase(), candidate.toLowerCase());
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

/**
 * The Levenshtein distance: how many characters have to be added, removed or replaced. Two that are
 * swapped count as two.
 */
function distanceOf(from: string, to: string): number {
  let row = Array.from(`${to}.`, (_, column) => column);
  for (const character of from) {
    const next = [row[0]! + 1];
    for (let j = 0; j < to.length; j++) {
      const replaced = row[j]! + (character === to[j] ? 0 : 1);
      next.push(Math.min(replaced, row[j + 1]! + 1, next[j]! + 1));
    }
    row = next;
  }
  return row.at(-1)!;
}
