/**
 * What is known of a recording that goes to the store: how much of it is there, when it is to be
 * written next, and what. Separate from the writer because nothing here calls the store.
 */
import { type EventPage, PAGE_BYTES } from "../event_pages.ts";
import type { Recording } from "../recording.ts";
import type { Due } from "./due_queue.ts";
import type { StoredPiece, StreamAppend } from "./event_store.ts";
import type { RemoteReaders } from "./remote_readers.ts";
import { formatInfo } from "./stored.ts";

/**
 * The shortest time between two writes of a stream, in ms. At most twenty writes a second for a
 * stream that is read elsewhere, or that has ended; two for any other, which loses so much more if
 * its process is killed. Twenty for each made a token take Deno half as long again (benchmark case:
 * redis, paced).
 */
const READ_MS = 50;
const UNREAD_MS = 500;
/** Unwritten bytes from which a stream is written as often as one that is read elsewhere. */
const AWAITED_BYTES = 64 * 1024;
/**
 * The longest time between two writes of a stream, in ms: for its expiry, and to notice if the store
 * has lost it.
 */
export const TOUCH_MS = 3000;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A recording and how much of it is in the store. */
export interface StreamState extends Due {
  readonly recording: Recording;
  readonly readers: RemoteReaders;
  /** Whether the store has the stream. */
  isKnown: boolean;
  /** The last event that the store has; `position` is where it ends, in bytes of the pages. */
  event: number;
  position: number;
  writtenMs: number;
  /** When the store was last told that the stream's name is held, if it has one. */
  namedMs: number;
  /** Until when the stream is left alone: the store has rejected it, or others come first. */
  pausedUntilMs: number;
  isWriting: boolean;
}

/** One write of a stream, and how far the store is after it. */
export interface PendingAppend {
  stream: StreamState;
  append: StreamAppend;
  position: number;
  bytes: number;
}

/** Whether the store does not have all of a stream. */
export function isBehind({ recording, isKnown, event }: StreamState): boolean {
  return !isKnown || recording.isOver || event < recording.lastEvent;
}

/** Whether a stream is written as often as may be. */
function isAwaited({ recording, readers, isKnown, position }: StreamState): boolean {
  return !isKnown || recording.isOver || readers.size > 0 ||
    recording.pages.bytes - position >= AWAITED_BYTES;
}

/** When a stream is to be written next, in ms. */
export function dueMs(stream: StreamState): number {
  if (!isBehind(stream)) return stream.writtenMs + TOUCH_MS;
  return stream.writtenMs + (isAwaited(stream) ? READ_MS : UNREAD_MS);
}

/** How many bytes a recording has when that time may change. */
export function noticeAt(stream: StreamState): number {
  if (!isBehind(stream)) return 0;
  return isAwaited(stream) ? Infinity : stream.position + AWAITED_BYTES;
}

/** The complete events that the store does not have, by entire pages, up to about `limit` bytes. */
export function pack(stream: StreamState, limit: number): PendingAppend {
  const { recording, isKnown } = stream;
  let { event, position } = stream;
  let bytes = 0;
  const pieces: StoredPiece[] = [];
  recording.notifyAt = 0;
  for (
    let page: EventPage | undefined = recording.pages.head;
    page !== undefined && bytes < limit;
    page = page.after
  ) {
    const from = Math.max(position - page.start, 0);
    if (from >= page.length) continue;
    // Events that were dropped before they were written are a gap, which readers notice.
    if (from === 0) event = page.first - 1;
    const last = page.next - 1;
    const part = page.bytes.subarray(from, page.length);
    const text = decoder.decode(part);
    const before = pieces.at(-1);
    // The first pages of a stream are small, and each piece costs the store something.
    const isOne = before?.last === event && before.text.length + text.length <= PAGE_BYTES;
    if (isOne) pieces[pieces.length - 1] = { ...before, last, text: before.text + text };
    else pieces.push({ first: event + 1, last, text });
    bytes += part.length;
    event = last;
    position = page.start + page.length;
  }
  const { streamId, owner, chatId } = recording.info;
  const isComplete = recording.isOver && event === recording.lastEvent;
  const append: StreamAppend = {
    streamId,
    chat: chatOf(owner, chatId),
    info: isKnown ? undefined : formatInfo(recording.info),
    first: recording.firstEvent,
    last: event,
    end: isComplete ? recording.endEvent : undefined,
    pieces,
  };
  return { stream, append, position, bytes };
}

/** The key of a chat: no other two names make the same one. */
export function chatOf(owner: string | undefined, chatId: string): string;
export function chatOf(owner: string | undefined, chatId: string | undefined): string | undefined;
export function chatOf(owner: string | undefined, chatId: string | undefined): string | undefined {
  return chatId === undefined ? undefined : JSON.stringify([owner, chatId]);
}
