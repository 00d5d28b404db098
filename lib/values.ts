/** Checks of values that come from outside: from JSON, from sources, from callers without types. */

/** Whether a value is an object; arrays are. */
export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Whether a value is an object that can be asked to do something. */
export function hasMethod<Name extends PropertyKey>(
  value: unknown,
  name: Name,
): value is Record<Name, (...values: unknown[]) => unknown> {
  return isObject(value) && name in value &&
    typeof (value as Record<Name, unknown>)[name] === "function";
}

/** The value of a text that is JSON; `undefined` if it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** How an error message names a value of the wrong kind. */
export function nameOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return `a ${typeof value}`;
  return `a ${value.constructor?.name ?? "object"}`;
}
