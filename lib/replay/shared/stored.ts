/**
 * What is found in a store, checked. Separate from the log because anybody may have written there: a
 * process of another version, an operator, a part of a disk.
 */
import type { StreamInfo } from "../event_log.ts";
import type { StoredPiece, StoredStream, StreamPart } from "./event_store.ts";

/** The version of the info that is written; a text without one is of this version. */
const VERSION = 1;
/** The greatest number of an event, as in ids. */
const MAX_EVENT = 1e15;

const encoder = new TextEncoder();

type Info = Omit<StreamInfo, "streamId">;

/** What other processes need to serve a stream, beside its events. */
export function formatInfo({ streamId: _, ...info }: StreamInfo): string {
  return JSON.stringify({ version: VERSION, ...info });
}

/**
 * Reads what {@linkcode formatInfo} wrote.
 *
 * @throws {TypeError} If it is not such a text.
 */
export function parseInfo(text: string): Info {
  let info: unknown;
  try {
    info = JSON.parse(text);
  } catch {
    throw new TypeError("its info is not JSON");
  }
  const { version = VERSION, format, headers, owner, chatId } = (info ?? {}) as Record<
    string,
    unknown
  >;
  if (version !== VERSION) throw new TypeError("its info is of another version");
  const isText = (value: unknown) => value === undefined || typeof value === "string";
  if (typeof format !== "string" || format === "" || !isText(owner) || !isText(chatId)) {
    throw new TypeError("its info lacks what it needs");
  }
  if (!isHeaders(headers)) throw new TypeError("its headers are none");
  return { format, headers, owner, chatId } as Info;
}

function isHeaders(headers: unknown): boolean {
  if (typeof headers !== "object" || headers === null || Array.isArray(headers)) return false;
  if (Object.values(headers).some((value) => typeof value !== "string")) return false;
  try {
    new Headers(headers as Record<string, string>);
    return true;
  } catch {
    return false;
  }
}

/** What is wrong with the record of a stream, if anything is, besides its info. */
export function faultOfStream({ producerId, first, last, end }: StoredStream): string | undefined {
  if (typeof producerId !== "string" || producerId === "") return "it has no producer";
  if (!isEvent(last, 0)) return "its last event is no number";
  if (!isEvent(first, 1) || first > last + 1) return "its first event is no number";
  return isEnd(end, last) ? undefined : "its end is no number";
}

/** What is wrong with a part that was read, if anything is. */
export function faultOfPart({ last, end, pieces, error }: StreamPart): string | undefined {
  if (error !== undefined) return error;
  if (!isEvent(last, 0)) return "its last event is no number";
  if (!isEnd(end, last)) return "its end is no number";
  return pieces.every(isPiece) ? undefined : "its events cannot be read";
}

/** Whether a piece has as many events as it says, each of them complete. */
function isPiece({ first, last, text }: StoredPiece): boolean {
  if (!isEvent(first, 1) || !isEvent(last, first) || typeof text !== "string") return false;
  let at = 0;
  for (let event = first; event <= last; event++) {
    at = text.indexOf("\n\n", at) + 2;
    if (at === 1) return false;
  }
  return at === text.length;
}

function isEvent(value: unknown, least: number): boolean {
  return Number.isSafeInteger(value) && value as number >= least && value as number <= MAX_EVENT;
}

function isEnd(end: number | undefined, last: number): boolean {
  return end === undefined || (isEvent(end, 1) && end <= last + 1);
}

/** The events of a piece after number `after`: events end in a blank line and hold none. */
export function bytesAfter({ first, text }: StoredPiece, after: number): Uint8Array {
  if (first > after) return encoder.encode(text);
  let at = 0;
  for (let event = first; event <= after; event++) at = text.indexOf("\n\n", at) + 2;
  return encoder.encode(text.slice(at));
}
