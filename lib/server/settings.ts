/**
 * The settings of the server entry, as one table: each is an environment variable and a flag of the
 * same name, `PORT` and `--port`. Separate from the entry so that the settings can be tested:
 * nothing here reads the environment.
 */

import { isOrigin } from "../handler/access.ts";
import { integer, isHost, list, onOff, type Setting, text, timeLimit } from "./setting.ts";

/** How streams are logged: a JSON object per line, a line for people, or not at all. */
export type LogStyle = "json" | "pretty" | "off";

/** The settings, checked. */
export interface Settings {
  port: number;
  hostname: string;
  /** `auto`: as many as there are cores. */
  workers: number | "auto";
  log: LogStyle;
  openaiBaseUrl: string;
  openaiModel: string;
  openaiApiKey: string;
  openaiHeadTimeoutMs: number;
  openaiFirstTokenTimeoutMs: number;
  openaiTokenTimeoutMs: number;
  openaiAnswerTimeoutMs: number;
  openaiRetries: number;
  /** `undefined`: those that `openai()` sends by default. */
  openaiFields: string[] | undefined;
  openaiStreamOptions: boolean;
  /** The path of a file. */
  openaiFallback: string;
  openaiFallbackTimeoutMs: number;
  tokenDelayMs: number;
  heartbeatMs: number;
  commitAfterMs: number;
  maxStreams: number;
  maxBodyBytes: number;
  maxChatBodyBytes: number;
  disconnectGraceMs: number;
  keepMs: number;
  drainDelayMs: number;
  drainTimeoutMs: number;
  replayFile: string;
  redisUrl: string;
  redisPrefix: string;
  apiKeys: string[];
  allowedHosts: string[];
  corsOrigins: string[];
  corsCredentials: boolean;
}

/** What else `spillway` does, for the help. */
const OTHERS =
  "  npx spillway doctor URL [flags]   what makes tokens come in lumps; --help has its flags\n" +
  "  npx spillway --version            the version\n";

/** How the server was started, with the command for the help. */
const COMMANDS = {
  bun: "bun run server",
  node: "node lib/server.ts",
  "deno serve": "deno serve -A --port 8000 --host 127.0.0.1 lib/server.ts",
  spillway: "npx spillway",
};

/**
 * How the server was started. `deno serve` has flags of its own for the address, which stand before
 * the file.
 */
export type StartedBy = keyof typeof COMMANDS;

/** More than any machine needs; a slip of the hand could otherwise start thousands of processes. */
const MAX_WORKERS = 256;

const FIELDS = list(
  "OPENAI_FIELDS",
  "NAME,...",
  "request fields that it gets, or none",
  (name) => /^\w+$/.test(name),
  "none, or names of fields",
);

const TABLE: { readonly [Name in keyof Settings]: Setting<Settings[Name]> } = {
  port: {
    ...integer("PORT", 8000, 0, 65_535, "the port to listen on; 0: any free one"),
    listens: true,
  },
  hostname: { ...text("HOST", "ADDRESS", "127.0.0.1", "the address to listen on"), listens: true },
  workers: {
    name: "WORKERS",
    value: "N|auto",
    fallback: 1,
    about: "processes; auto: one a core",
    parse: (text) => {
      if (text === "auto") return text;
      if (/^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_WORKERS) {
        return Number(text);
      }
      throw new RangeError(`auto or an integer from 1 to ${MAX_WORKERS}`);
    },
    listens: true,
  },
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
  openaiHeadTimeoutMs: timeLimit(
    "OPENAI_HEAD_TIMEOUT_MS",
    600_000,
    "ms until the upstream's headers",
  ),
  openaiFirstTokenTimeoutMs: timeLimit(
    "OPENAI_FIRST_TOKEN_TIMEOUT_MS",
    600_000,
    "ms of silence before its first token",
  ),
  openaiTokenTimeoutMs: timeLimit(
    "OPENAI_TOKEN_TIMEOUT_MS",
    60_000,
    "ms of silence after its first token",
  ),
  openaiAnswerTimeoutMs: timeLimit(
    "OPENAI_ANSWER_TIMEOUT_MS",
    3_600_000,
    "ms for an answer, all in all",
  ),
  openaiRetries: integer("OPENAI_RETRIES", 0, 0, 10, "new tries before the first token"),
  openaiFields: {
    ...FIELDS,
    fallback: undefined,
    shown: "the usual",
    parse: (text) => text === "none" ? [] : FIELDS.parse(text),
  },
  openaiStreamOptions: onOff("OPENAI_STREAM_OPTIONS", true, "whether it gets stream_options"),
  openaiFallback: text(
    "OPENAI_FALLBACK",
    "FILE",
    "",
    "JSON list of upstreams if it fails",
  ),
  openaiFallbackTimeoutMs: timeLimit(
    "OPENAI_FALLBACK_TIMEOUT_MS",
    60_000,
    "ms until the last of them is asked",
  ),
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
  maxBodyBytes: integer(
    "MAX_BODY_BYTES",
    1024 * 1024,
    1,
    2 ** 31 - 1,
    "bytes of a request body at most",
  ),
  maxChatBodyBytes: integer(
    "MAX_CHAT_BODY_BYTES",
    32 * 1024 * 1024,
    1,
    64 * 1024 * 1024,
    "bytes of one on a chat route",
  ),
  disconnectGraceMs: integer(
    "DISCONNECT_GRACE_MS",
    10_000,
    0,
    3_600_000,
    "ms to continue with no client connected",
  ),
  keepMs: integer("KEEP_MS", 300_000, 0, 604_800_000, "ms a stream is kept after its end"),
  drainDelayMs: integer(
    "DRAIN_DELAY_MS",
    0,
    0,
    3_600_000,
    "ms after SIGTERM that take new streams",
  ),
  drainTimeoutMs: integer(
    "DRAIN_TIMEOUT_MS",
    25_000,
    0,
    3_600_000,
    "ms for open streams after that",
  ),
  replayFile: text("REPLAY_FILE", "FILE", "", "file that keeps the streams"),
  redisUrl: {
    ...text("REDIS_URL", "URL", "", "Redis that shares the streams"),
    secret: true,
    parse: (text) => {
      if (/^(redis|valkey)s?(\+\w+)*:\/\/\S+$/.test(text) && URL.canParse(text)) return text;
      throw new RangeError("like redis://host:6379");
    },
  },
  redisPrefix: text(
    "REDIS_PREFIX",
    "TEXT",
    "spillway:",
    "prefix of names in Redis",
  ),
  apiKeys: {
    ...list(
      "API_KEYS",
      "KEY,...",
      "API keys; clients must send one",
      // A key that cannot be sent would shut everybody out.
      (key) => /^[!-~]+$/.test(key),
      "keys of visible ASCII",
    ),
    secret: true,
  },
  allowedHosts: list(
    "ALLOWED_HOSTS",
    "NAME,...",
    "allowed Host names; on loopback its own",
    isHost,
    "host names like chat.example.com",
  ),
  corsOrigins: list(
    "CORS_ORIGINS",
    "ORIGIN,...",
    "origins allowed to call from a browser",
    (item) => item === "*" || isOrigin(item),
    "origins like https://example.com",
  ),
  corsCredentials: onOff("CORS_CREDENTIALS", false, "whether those may send cookies"),
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
  startedBy: StartedBy,
): Settings | undefined {
  const flags = readFlags(args, startedBy);
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

/** The beginnings of the names that people need first, in this order; the others follow. */
const FIRST = ["PORT", "HOST", "OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API_KEY"];
const NEXT = [
  "API_KEYS",
  "ALLOWED_HOSTS",
  "CORS_",
  "WORKERS",
  "REPLAY_",
  "REDIS_",
  "LOG",
  "MAX_",
  "DRAIN_",
  "DISCONNECT_",
];

/** Where a setting stands in the help. */
function placeOf({ name }: { readonly name: string }): number {
  const order = [...FIRST, ...NEXT];
  const place = order.findIndex((beginning) => name.startsWith(beginning));
  return place < 0 ? order.length : place;
}

/** The text that `--help` prints, in the order in which people need it. */
export function help(startedBy: StartedBy): string {
  const settings = settingsOf(startedBy).sort((a, b) => placeOf(a) - placeOf(b));
  const rows = settings.map((setting) => {
    const { name, value, fallback, shown = String(fallback), about, secret } = setting;
    return [secret ? "(no flag)" : `${flagOf(setting)} ${value}`, name, shown, about];
  });
  const table = [["flag", "variable", "default", ""], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd()
  );
  return `Streams a language model's tokens over Server-Sent Events.

  ${COMMANDS[startedBy]} [flags]
${startedBy === "spillway" ? OTHERS : ""}
${lines.join("\n")}

A flag beats its variable. --help prints this.`;
}

/** The flags by name, or `undefined` if one of them asks for help. */
function readFlags(args: readonly string[], startedBy: StartedBy): Map<string, string> | undefined {
  const settings = settingsOf(startedBy);
  const known = new Set(settings.filter(({ secret }) => !secret).map(flagOf));
  const flags = new Map<string, string>();
  if (args.some((arg) => arg === "--help" || arg === "-h")) return undefined;
  for (let i = 0; i < args.length; i++) {
    const [, flag = "", joined] = /^(--[^=]+)(?:=([^]*))?$/.exec(args[i]!) ?? [];
    const secret = settings.find((setting) => setting.secret && flagOf(setting) === flag);
    if (secret) {
      throw new RangeError(`${flag} is no flag, because others could read it; set ${secret.name}`);
    }
    if (isFlagOfDeno(flag) && !known.has(flag)) {
      const given = joined ?? args[i + 1] ?? "";
      const preset = new RegExp(`${flag} \\S+`);
      const typed = /^[\w.:-]+$/.test(given)
        ? COMMANDS[startedBy].replace(preset, `${flag} ${given}`)
        : COMMANDS[startedBy];
      throw new RangeError(`${flag} stands before the file: ${typed}`);
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
function settingsOf(startedBy: StartedBy): Setting<unknown>[] {
  const settings: Setting<unknown>[] = Object.values(TABLE);
  return settings.filter(({ listens }) => startedBy !== "deno serve" || !listens);
}

/** Whether a flag is about the address, for which `deno serve` has the same. */
function isFlagOfDeno(flag: string): boolean {
  return flag === flagOf(TABLE.port) || flag === flagOf(TABLE.hostname);
}

function flagOf({ name }: { readonly name: string }): string {
  return `--${name.toLowerCase().replaceAll("_", "-")}`;
}
