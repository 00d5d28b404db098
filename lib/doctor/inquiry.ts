/** What the command line of `spillway doctor` asks for, and its help. */
import { parseArgs } from "node:util";

/** What to ask, and what to try. */
export interface Inquiry {
  readonly url: URL;
  readonly method: string;
  /** By name, in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** Whether to ask for the server's paced source. */
  readonly isPaced: boolean;
  /** How long the stream is silent in the test of silence, in ms; 0 is no test. @default {as long as it can be} */
  readonly silenceMs: number | undefined;
  /** Number of streams to open at once; 1 is no test. */
  readonly connections: number;
  /** Limit of everything together, in ms. */
  readonly timeoutMs: number;
  /** Whether to print JSON. */
  readonly json: boolean;
}

/** The route that is asked where the URL has no path: that of `createHandler`. */
const ROUTE = "/streaming";
const QUERY = { query: "Count from one to twenty, in words." };

/** What `spillway doctor --help` prints. */
export const DOCTOR_HELP: string = `Asks for a stream, and says what makes its tokens come in lumps.

  spillway doctor URL [flags]

  --paced              ask for the server's paced source: the path alone is judged
  --method METHOD      by default POST with a body, else GET
  --header NAME:VALUE  a request header; may be given several times
  --body TEXT          the body of the request; with --paced a JSON object
  --silence-ms MS      how long a silence the path must bear, with --paced: by default 1000
                       more than the pause between heartbeats; 0: not tried
  --connections COUNT  streams opened at once, with --paced: 7; 1: not tried
  --timeout-ms MS      limit of everything together: 60000
  --json               print one JSON object

A URL without a path asks POST ${ROUTE}. Exit code: 0 good, 1 culprit found,
2 could not ask, or could not judge.`;

/**
 * Reads the arguments behind `doctor`.
 *
 * @returns `undefined` if the help was asked for.
 * @throws {Error} With a line that names what is wrong.
 */
export function readInquiry(args: readonly string[]): Inquiry | undefined {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      help: { type: "boolean", short: "h" },
      paced: { type: "boolean" },
      method: { type: "string" },
      header: { type: "string", multiple: true },
      body: { type: "string" },
      "silence-ms": { type: "string" },
      connections: { type: "string" },
      "timeout-ms": { type: "string" },
      json: { type: "boolean" },
    },
  });
  if (values.help) return undefined;
  const isPaced = values.paced ?? false;
  const url = urlOf(positionals);
  const isOurs = url.pathname === "/";
  if (isOurs) url.pathname = ROUTE;
  const body = isPaced
    ? JSON.stringify(objectOf(values.body))
    : values.body ?? (isOurs ? JSON.stringify(QUERY) : undefined);
  const number = (name: "silence-ms" | "connections" | "timeout-ms", bounds: Bounds) =>
    integerOf(`--${name}`, values[name], bounds);
  return {
    url,
    method: methodOf(values.method ?? (body === undefined ? "GET" : "POST")),
    headers: headersOf(values.header ?? []),
    body,
    isPaced,
    silenceMs: values["silence-ms"] === undefined
      ? undefined
      : number("silence-ms", [0, 120_000, 0]),
    connections: number("connections", [1, 100, 7]),
    timeoutMs: number("timeout-ms", [100, 600_000, 60_000]),
    json: values.json ?? false,
  };
}

/** The address without the credentials in it, to be shown. */
export function shown(url: URL): string {
  const bare = new URL(url);
  bare.username = bare.password = "";
  return bare.href;
}

function methodOf(text: string): string {
  if (/^[\w!#$%&'*+.^`|~-]+$/.test(text)) return text.toUpperCase();
  throw new TypeError(`--method is ${JSON.stringify(text)}, no name of a method`);
}

type Bounds = readonly [min: number, max: number, preset: number];

function integerOf(flag: string, text: string | undefined, [min, max, preset]: Bounds): number {
  if (text === undefined) return preset;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new RangeError(`${flag} is ${JSON.stringify(text)}, not an integer from ${min} to ${max}`);
}

function urlOf(positionals: readonly string[]): URL {
  const [text = "", ...more] = positionals;
  if (more.length > 0) throw new RangeError("there is more than one URL");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new RangeError("the URL is missing, like http://127.0.0.1:8000; --help lists the flags");
}

/** The body that gets the field `paced`. */
function objectOf(text: string | undefined): object {
  if (text === undefined) return QUERY;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // The same fault: the error below names it.
  }
  throw new TypeError("--body is not a JSON object, which --paced needs");
}

function headersOf(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(lines.map((line) => {
    // The line is not repeated: it may be a secret.
    const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):\s*(.*?)\s*$/.exec(line) ?? [];
    if (name === undefined) throw new TypeError("--header is not like NAME:VALUE");
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value!)) {
      throw new TypeError(`--header ${name} has characters that no header can have`);
    }
    return [name.toLowerCase(), value!];
  }));
}
