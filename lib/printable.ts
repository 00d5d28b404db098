/** Texts of strangers on a terminal. Separate from the values, which the pages hold as well. */

/**
 * Escapes control, format and separator characters as `\uXXXX`, so that none of them moves a cursor
 * or forges a line.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    let escaped = "";
    for (let i = 0; i < character.length; i++) {
      escaped += `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`;
    }
    return escaped;
  });
}
