/** What can be asked of any value, and what is done with plain ones. */

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

/** A plain value as text; `object` for any other one, which may have nothing that makes it text. */
export function wordOf(value: unknown): string {
  return isObject(value) ? "object" : String(value);
}

/** How an error message names a value of the wrong kind. */
export function nameOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return `a ${typeof value}`;
  return `a ${value.constructor?.name ?? "object"}`;
}

/** The bytes of all parts, in order. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The SHA-256 of bytes, as 64 hexadecimal digits. The bytes may be changed once this has returned. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return digest.reduce((hex, byte) => hex + byte.toString(16).padStart(2, "0"), "");
}

type Defined<T> = { [Name in keyof T]?: Exclude<T[Name], undefined> };

/** The same fields without those that are `undefined`. */
export function definedOf<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Defined<T>;
}

/** The length of a text in bytes of UTF-8, where a lone surrogate takes three. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x80) continue;
    bytes += code < 0x800 ? 1 : 2;
    if ((code & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) i++;
  }
  return bytes;
}

/** How deep the arrays and objects of JSON nest, counted up to one past `limit`, without parsing. */
export function depthOf(json: string, limit: number): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < json.length; i++) {
    const char = json[i];
    // A picture is a single string of some MB.
    if (char === '"') i = endOfString(json, i + 1);
    else if (char === "[" || char === "{") {
      deepest = Math.max(deepest, ++depth);
      if (deepest > limit) return deepest;
    } else if (char === "]" || char === "}") depth--;
  }
  return deepest;
}

/** Where the string ends that goes on at `from`: at its quote, or at the end of a broken text. */
function endOfString(json: string, from: number): number {
  for (let end = json.indexOf('"', from); end >= 0; end = json.indexOf('"', end + 1)) {
    let escapes = 0;
    while (json[end - 1 - escapes] === "\\") escapes++;
    if (escapes % 2 === 0) return end;
  }
  return json.length;
}
