/**
 * What the server entry says on its standard output: where it listens, and a line for each stream that
 * has ended. It stands apart so that what a stranger can put into a line is escaped in one place; the
 * query is in none.
 */
import type { LogStyle } from "./settings.ts";
import type { StreamReport } from "../pipeline/generation.ts";

/** How the entry speaks. */
export interface StreamLogOptions {
  readonly style: LogStyle;
  /** Whether lines for people are coloured. */
  readonly colour: boolean;
  /** Takes a text without its last line feed. */
  readonly print: (text: string) => void;
}

/** What the entry reports. */
export interface StreamLog {
  /** The server listens; `everywhere` if at more addresses than the one that `url` tells. */
  readonly listening: (url: string, everywhere: boolean) => void;
  /** A stream has ended. */
  readonly closed: (report: StreamReport) => void;
}

/** What a visitor may want to open, in the order in which it is told. */
const PLACES: Readonly<Record<string, string>> = {
  "chat": "/",
  "docs": "/docs",
  "health": "/health",
  "metrics": "/metrics",
  "OpenAPI": "/openapi.json",
};
const COLOURS = { completed: 32, failed: 31, cancelled: 33 };

/** Speaks in the style that was asked for. */
export function createStreamLog({ style, colour, print }: StreamLogOptions): StreamLog {
  const paint = (code: number, text: string) => colour ? `\x1b[${code}m${text}\x1b[0m` : text;
  if (style === "json") {
    return {
      listening: (url) => print(jsonLine({ time: now(), event: "listening", url })),
      closed: (report) => print(jsonLine({ time: now(), event: "closed", ...fieldsOf(report) })),
    };
  }
  return {
    listening: (url, everywhere) => print(card(url, everywhere, (text) => paint(1, text))),
    closed: (report) => {
      if (style === "off") return;
      const { outcome, code, ttftMs, durationMs, tokens, bytes, streamId } = fieldsOf(report);
      print([
        new Date().toTimeString().slice(0, 8),
        paint(COLOURS[outcome], code === undefined ? outcome : `${outcome}: ${printable(code)}`),
        `${tokens} tokens`,
        `${bytes} bytes`,
        ttftMs === undefined ? "none sent" : `first after ${ttftMs} ms`,
        `${durationMs} ms in all`,
        paint(2, printable(streamId)),
      ].join("  "));
    },
  };
}

function card(url: string, everywhere: boolean, bold: (text: string) => string): string {
  const width = Math.max(...Object.keys(PLACES).map(({ length }) => length));
  const places = Object.entries(PLACES).map(([name, path]) =>
    `  ${name.padEnd(width)}  ${url}${path}`
  );
  return `Spillway listens on ${bold(url)}${everywhere ? " (and every other address)" : ""}

${places.join("\n")}

curl -N -X POST -H "Content-Type: application/json" -H "accept: text/event-stream" \\
     -d '{"query":"Streaming responseのテスト"}' ${url}/streaming
`;
}

/** The report, field by field, times to a tenth of a millisecond: what else it may once hold is not logged. */
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

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}

function now(): string {
  return new Date().toISOString();
}

/** JSON escapes only what is below U+0020, and a terminal obeys more than that. */
function jsonLine(fields: Record<string, unknown>): string {
  return printable(JSON.stringify(fields));
}

/** Control, format and separator characters as `\uXXXX`: none of them moves a cursor or forges a line. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    let escaped = "";
    for (let i = 0; i < character.length; i++) {
      escaped += `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`;
    }
    return escaped;
  });
}
