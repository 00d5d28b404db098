/**
 * The settings of the server entry, as one table: each is an environment variable and a flag of the
 * same name, `PORT` and `--port`. Separate from the entry so that the settings can be tested:
 * nothing here reads the environment.
 */

/** How streams are logged: a JSON object per line, a line for people, or not at all. */
export type LogStyle = "json" | "pretty" | "off";

/** The settings, checked. */
export interface Settings {
  port: number;
  hostname: string;
  log: LogStyle;
  openaiBaseUrl: string;
  openaiModel: string;
  openaiApiKey: string;
  tokenDelayMs: number;
  heartbeatMs: number;
  commitAfterMs: number;
  maxStreams: number;
  disconnectGraceMs: number;
  drainTimeoutMs: number;
  redisUrl: string;
  apiKeys: string[];
  allowedHosts: string[];
  corsOrigins: string[];
}

/**
 * Which runtime's server listens: `deno serve` has flags of its own for the address, which stand
 * before the file.
 */
export type Listener = "bun" | "deno serve";

interface Setting<T> {
  /** The environment variable; the flag is derived from it. */
  readonly name: string;
  /** A placeholder for the value, for the help. */
  readonly value: string;
  readonly fallback: T;
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

const TABLE: { readonly [Name in keyof Settings]: Setting<Settings[Name]> } = {
  port: {
    ...integer("PORT", 8000, 0, 65_535, "the port to listen on; 0: any free one"),
    listens: true,
  },
  hostname: { ...text("HOST", "ADDRESS", "127.0.0.1", "the address to listen on"), listens: true },
  log: {
    name: "LOG",
    value: "json|pretty|off",
    fallback: "pretty",
    about: "one line per stream, never its query",
    parse: (text) => {
      if (text === "json" || text === "pretty" || text === "off") return text;
      throw new RangeError("json, pretty or off");
    },
  },
  openaiBaseUrl: text("OPENAI_BASE_URL", "URL", "", "OpenAI-compatible upstream, else echo"),
  openaiModel: text("OPENAI_MODEL", "NAME", "", "the upstream's model"),
  openaiApiKey: {
    ...text("OPENAI_API_KEY", "KEY", "", "the upstream's API key"),
    secret: true,
  },
  tokenDelayMs: integer("TOKEN_DELAY_MS", 100, 0, 60_000, "ms between the echo's tokens"),
  heartbeatMs: integer(
    "HEARTBEAT_MS",
    5000,
    100,
    60_000,
    "ms silent before a heartbeat",
    true,
  ),
  commitAfterMs: integer(
    "COMMIT_AFTER_MS",
    250,
    0,
    5000,
    "ms the headers wait for a token",
  ),
  maxStreams: integer("MAX_STREAMS", 10_000, 1, 1_000_000, "open streams at most"),
  disconnectGraceMs: integer(
    "DISCONNECT_GRACE_MS",
    10_000,
    0,
    3_600_000,
    "ms to continue with no client connected",
  ),
  drainTimeoutMs: integer(
    "DRAIN_TIMEOUT_MS",
    25_000,
    0,
    3_600_000,
    "ms for open streams after SIGTERM",
  ),
  redisUrl: {
    ...text("REDIS_URL", "URL", "", "Redis that shares the streams"),
    secret: true,
  },
  apiKeys: {
    ...list("API_KEYS", "KEY,...", "API keys; clients must send one"),
    secret: true,
    parse: (text) => {
      const keys = itemsOf(text);
      // A key that cannot be sent would shut everybody out, and an empty list nobody: both are
      // mistakes.
      if (keys.length > 0 && keys.every((key) => /^[!-~]+$/.test(key))) return keys;
      throw new RangeError("keys of visible ASCII with commas between them");
    },
  },
  allowedHosts: list("ALLOWED_HOSTS", "NAME,...", "allowed Host names; on loopback its own"),
  corsOrigins: list("CORS_ORIGINS", "ORIGIN,...", "origins allowed to call from a browser"),
};

/**
 * Reads the settings: a flag overrides its variable, and an empty value counts as absent.
 *
 * @returns `undefined` if the help was asked for.
 * @throws {RangeError} With one line that names what is wrong.
 */
export function readSettings(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  listener: Listener,
): Settings | undefined {
  const flags = readFlags(args, listener);
  if (flags === undefined) return undefined;
  const read = <T>(setting: Setting<T>): T => {
    const flag = flagOf(setting);
    const given = flags.get(flag);
    const value = given ?? environment[setting.name] ?? "";
    if (value === "") return setting.fallback;
    try {
      return setting.parse(value);
    } catch (error) {
      const name = given === undefined ? setting.name : flag;
      const shown = setting.secret ? "" : `${JSON.stringify(value)}, `;
      throw new RangeError(`${name} is ${shown}not ${(error as Error).message}`);
    }
  };
  const settings = Object.entries(TABLE).map(([name, setting]) => [name, read<unknown>(setting)]);
  return Object.fromEntries(settings) as Settings;
}

/** The text that `--help` prints. */
export function help(listener: Listener): string {
  const rows = settingsOf(listener).map((setting) => {
    const { name, value, fallback, about, secret } = setting;
    return [secret ? "(no flag)" : `${flagOf(setting)} ${value}`, name, String(fallback), about];
  });
  const table = [["flag", "variable", "default", ""], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd()
  );
  const command = listener === "bun"
    ? "bun run server"
    : "deno serve -A --port 8000 --host 127.0.0.1 lib/server.ts";
  return `Streams a language model's tokens over Server-Sent Events.

  ${command} [flags]

${lines.join("\n")}

A flag beats its variable. --help prints this.`;
}

/** The flags by name, or `undefined` if one of them asks for help. */
function readFlags(args: readonly string[], listener: Listener): Map<string, string> | undefined {
  const settings = settingsOf(listener);
  const known = new Set(settings.filter(({ secret }) => !secret).map(flagOf));
  const flags = new Map<string, string>();
  if (args.some((arg) => arg === "--help" || arg === "-h")) return undefined;
  for (let i = 0; i < args.length; i++) {
    const [, flag = "", joined] = /^(--[^=]+)(?:=([^]*))?$/.exec(args[i]!) ?? [];
    const secret = settings.find((setting) => setting.secret && flagOf(setting) === flag);
    if (secret) {
      throw new RangeError(`${flag} is no flag, for others could read it: ${secret.name}`);
    }
    if (!known.has(flag)) {
      throw new RangeError(`${JSON.stringify(args[i])} is no flag here; --help lists them`);
    }
    const value = joined ?? args[++i];
    if (value === undefined) throw new RangeError(`${flag} has no value`);
    flags.set(flag, value);
  }
  return flags;
}

/** The settings that can be set here: under `deno serve` its own flags decide where it listens. */
function settingsOf(listener: Listener): Setting<unknown>[] {
  const settings: Setting<unknown>[] = Object.values(TABLE);
  return settings.filter(({ listens }) => listener === "bun" || !listens);
}

function flagOf({ name }: { readonly name: string }): string {
  return `--${name.toLowerCase().replaceAll("_", "-")}`;
}

function integer(
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

function text(name: string, value: string, fallback: string, about: string): Setting<string> {
  return { name, value, fallback, about, parse: (text) => text };
}

function list(name: string, value: string, about: string): Setting<string[]> {
  return { name, value, fallback: [], about, parse: itemsOf };
}

function itemsOf(text: string): string[] {
  return text.split(",").map((item) => item.trim()).filter(Boolean);
}
