/**
 * The kinds of settings: integers, times, texts, switches and lists. Separate from the table of settings
 * because each kind says once how it is written and what it must not be.
 */

/** A setting of the server entry. */
export interface Setting<T> {
  /** The environment variable; the flag is derived from it. */
  readonly name: string;
  /** A placeholder for the value, for the help. */
  readonly value: string;
  readonly fallback: T;
  /** How the help shows the default. @default {as it is} */
  readonly shown?: string;
  readonly about: string;
  /**
   * Parses the text of the setting.
   *
   * @throws {RangeError} If the text is not valid; the message says what it is not.
   */
  readonly parse: (text: string) => T;
  /** Whether the setting has no flag, because other users of the machine can read flags. */
  readonly secret?: boolean;
  /** Whether the setting is about the address to listen on. */
  readonly listens?: boolean;
}

export function integer(
  name: string,
  fallback: number,
  min: number,
  max: number,
  about: string,
  orOff = false,
): Setting<number> {
  const bounds = `${orOff ? "0 or " : ""}an integer from ${min} to ${max}`;
  return {
    name,
    value: name.endsWith("_MS") ? "MS" : "NUMBER",
    fallback,
    about: orOff ? `${about}; 0: off` : about,
    parse: (text) => {
      const value = Number(text);
      const fits = (value >= min && value <= max) || (orOff && value === 0);
      if (/^\d+$/.test(text) && fits) return value;
      throw new RangeError(bounds);
    },
  };
}

export function timeLimit(name: string, fallback: number, about: string): Setting<number> {
  return integer(name, fallback, 1, 2 ** 31 - 1, about);
}

export function text(
  name: string,
  value: string,
  fallback: string,
  about: string,
): Setting<string> {
  return { name, value, fallback, about, parse: (text) => text };
}

export function list(
  name: string,
  value: string,
  about: string,
  fits: (item: string) => boolean,
  what: string,
): Setting<string[]> {
  return {
    name,
    value,
    fallback: [],
    about,
    parse: (text) => {
      const items = text.split(",").map((item) => item.trim()).filter(Boolean);
      // An empty list would let everybody in where it was meant to let in some.
      if (items.length > 0 && items.every(fits)) return items;
      throw new RangeError(`${what} with commas between them`);
    },
  };
}

/** Whether a text is a host as URLs have it: lower case, IPv6 in brackets, without a port. */
export function isHost(text: string): boolean {
  return text !== "*" && URL.canParse(`http://${text}`) &&
    new URL(`http://${text}`).hostname === text;
}

/** A switch. */
export function onOff(name: string, fallback: boolean, about: string): Setting<boolean> {
  return {
    name,
    value: "on|off",
    fallback,
    shown: fallback ? "on" : "off",
    about,
    parse: (text) => {
      if (text === "on" || text === "off") return text === "on";
      throw new RangeError("on or off");
    },
  };
}
