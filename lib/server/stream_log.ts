/**
 * What the server entry writes to its standard output: where it listens, and a line for each stream
 * that has ended. Separate from the entry so that all untrusted text is escaped in one place. The
 * query is never logged.
 */
import { StreamError } from "../error.ts";
import type { StreamReport } from "../pipeline/generation.ts";
import { printable } from "../printable.ts";
import type { LogStyle } from "./settings.ts";

/** Options of {@linkcode createStreamLog}. */
export interface StreamLogOptions {
  readonly style: LogStyle;
  /** Whether lines for people are coloured. */
  readonly colour: boolean;
  /** Prints a text, which comes without its last line feed. */
  readonly print: (text: string) => void;
  /** Prints an error: a line without its line feed, or a bug as it is, with its stack. */
  readonly printError: (error: unknown) => void;
}

/** What the server says of itself when it listens. */
export interface Start {
  readonly url: string;
  /** Whether it listens on more addresses than the one in `url`. */
  readonly everywhere: boolean;
  /** What streams: the echo, or a relay of which model. */
  readonly source: string;
  /** How many processes serve, if several. */
  readonly workers?: number;
  /** Whether clients must send an API key. */
  readonly wantsKey: boolean;
  /** Whether others than this machine can reach it, and need no key. */
  readonly isOpen: boolean;
  /** A `Host` that is served, if that of `url` is not. */
  readonly host?: string;
  /** A limit that cannot be kept, and what would allow it. */
  readonly limit?: string;
  /** Why streams to the upstream may wait for each other, and what would prevent it. */
  readonly connections?: string;
  /** The file that keeps the streams, if there is one. */
  readonly replay?: string;
}

/** The events that the entry logs. */
export interface StreamLog {
  /** Logs that the server listens. */
  readonly listening: (start: Start) => void;
  /** Logs that a stream has ended. */
  readonly closed: (report: StreamReport) => void;
  /** Logs an error in every style: in one line, if it is one that an upstream can cause. */
  readonly failed: (error: unknown) => void;
}

/** Paths that a visitor may want to open, in the order in which they are printed. */
const PLACES: Readonly<Record<string, string>> = {
  "chat": "/",
  "docs": "/docs",
  "health": "/health",
  "metrics": "/metrics",
  "OpenAPI": "/openapi.json",
};
/** What is said of an address that others can reach. */
const OPEN = "Others can reach this address without an API key; API_KEYS asks them for one";
const COLOURS = { completed: 32, failed: 31, cancelled: 33 };

/** Creates a log in the style that was asked for. */
export function createStreamLog(
  { style, colour, print, printError }: StreamLogOptions,
): StreamLog {
  const failed = (error: unknown): void => {
    const code = codeOf(error);
    if (code === undefined) return printError(error);
    const message = reasonOf(error);
    if (style === "json") {
      return printError(jsonLine({ time: now(), event: "error", code, message }));
    }
    const time = new Date().toTimeString().slice(0, 8);
    printError(`${time}  ${printable(code)}  ${printable(message)}`);
  };
  const paint = (code: number, text: string) => colour ? `\x1b[${code}m${text}\x1b[0m` : text;
  if (style === "json") {
    return {
      listening: ({ url, source, workers, isOpen, limit, connections, replay }) => {
        const warning = isOpen ? OPEN : undefined;
        const listening = { url, source, workers, warning, limit, connections, replay };
        print(jsonLine({ time: now(), event: "listening", ...listening }));
      },
      closed: (report) => print(jsonLine({ time: now(), event: "closed", ...fieldsOf(report) })),
      failed,
    };
  }
  return {
    listening: (start) => print(card(start, paint)),
    closed: (report) => {
      if (style === "off") return;
      const { outcome, code, ttftMs, durationMs, tokens, bytes, streamId } = fieldsOf(report);
      print([
        new Date().toTimeString().slice(0, 8),
        paint(COLOURS[outcome], code === undefined ? outcome : `${outcome}: ${printable(code)}`),
        tokens === 1 ? "1 token" : `${tokens} tokens`,
        `${bytes} bytes`,
        ttftMs === undefined ? "none sent" : `first after ${ttftMs} ms`,
        `${durationMs} ms in all`,
        paint(2, printable(streamId)),
      ].join("  "));
    },
    failed,
  };
}

function card(
  { url, everywhere, source, workers, wantsKey, isOpen, host, limit, connections, replay }: Start,
  paint: (code: number, text: string) => string,
): string {
  const width = Math.max(...Object.keys(PLACES).map(({ length }) => length));
  const places = Object.entries(PLACES).map(([name, path]) =>
    `  ${name.padEnd(width)}  ${url}${path}`
  );
  const headers = [
    ...wantsKey ? [`-H "Authorization: Bearer $KEY"`] : [],
    ...host === undefined ? [] : [`-H "Host: ${host}"`],
  ];
  const more = headers.length > 0 ? `     ${headers.join(" ")} \\\n` : "";
  return `Spillway listens on ${paint(1, url)}${everywhere ? " (and every other address)" : ""}
Source: ${printable(source)}${replay === undefined ? "" : `\nReplay file: ${printable(replay)}`}${
    workers === undefined ? "" : `\nWorkers: ${workers}`
  }
Keys: ${wantsKey ? "a client must send one of API_KEYS" : "none; API_KEYS asks clients for one"}
${
    [isOpen ? OPEN : "", limit ?? "", connections ?? ""].filter(Boolean)
      .map((line) => `${paint(33, line)}\n`).join("")
  }
${places.join("\n")}
${wantsKey ? "\nWith one of API_KEYS as KEY:" : ""}
curl -N -X POST -H "Content-Type: application/json" -H "accept: text/event-stream" \\
${more}     -d '{"query":"Streaming responseのテスト"}' ${url}/streaming
`;
}

/**
 * The fields of a report that are logged, with times to a tenth of a millisecond. Fields are
 * listed, so that one that is added later is not logged by accident.
 */
function fieldsOf({ outcome, code, ttftMs, durationMs, tokens, bytes, streamId }: StreamReport) {
  return {
    outcome,
    code,
    ttftMs: ttftMs === undefined ? undefined : tenths(ttftMs),
    durationMs: tenths(durationMs),
    tokens,
    bytes,
    streamId,
  };
}

/** The line in place of lines that were dropped, because nobody read the log. */
export function droppedLine(style: LogStyle, lines: number): string {
  if (style === "json") return jsonLine({ time: now(), event: "dropped", lines });
  return `${new Date().toTimeString().slice(0, 8)}  ${lines} lines dropped: nobody read the log`;
}

/** The code of an error that has one, or that was reported of an upstream that has failed. */
function codeOf(error: unknown): string | undefined {
  if (error instanceof StreamError) return error.code;
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof StreamError ? cause.code : undefined;
}

/** What an error and its causes say, in one line. A code's own title says less than its cause. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join("; ");
  if (!(error instanceof Error)) return String(error);
  if (error.cause === undefined) return error.message;
  const reason = reasonOf(error.cause);
  return error instanceof StreamError ? reason : `${error.message}: ${reason}`;
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}

function now(): string {
  return new Date().toISOString();
}

/**
 * A line of JSON in which control characters above U+001F are escaped as well: JSON alone leaves
 * them, and terminals obey them.
 */
function jsonLine(fields: Record<string, unknown>): string {
  return printable(JSON.stringify(fields));
}
