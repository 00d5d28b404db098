/**
 * What a recording needs of the log that owns it, and of its readers. Separate from the recording
 * because logs and readers elsewhere implement it.
 */
import type { Clock } from "../pipeline/scheduler.ts";
import type { StreamInfo } from "./event_log.ts";
import type { EventPage } from "./event_pages.ts";

/** The owner of recordings: a log. No method may throw. */
export interface RecordingOwner<Recording> {
  /** Bytes and events that one stream may hold. */
  readonly maxStreamBytes: number;
  readonly maxStreamEvents: number;
  readonly clock: Clock;
  /** Called when a stream holds so many bytes more, or fewer. Returns whether there is room for more. */
  held(info: StreamInfo, bytes: number): boolean;
  /** Called when a stream has come to its `notifyAt`. */
  appended?(recording: Recording): void;
  /** Called when the generation has ended and its last event was written. */
  ended(recording: Recording): void;
  /**
   * Called when no client got a response and none will ask for the stream: it failed before its
   * first event, or its client had disconnected.
   */
  forget(recording: Recording): void;
  /** Called when the recording is held no longer. */
  dropped?(recording: Recording): void;
}

/** A reader of a recording that keeps its source going, here or on another machine. */
export interface Subscriber {
  /** Bytes of the stream that the reader has; less than 0 before the heartbeat of the first page. */
  readonly position: number;
  /** The page from which the reader continues, as long as it is held. */
  readonly page: EventPage | undefined;
  /** Called when events wait, or the end has come. Must not throw. */
  run(): void;
}
