/**
 * A stream that was found in the store, as a log shows it. Separate from the log because it only
 * holds what was found.
 */
import type { Format } from "../../formats/format.ts";
import type { Followed, Follower, LoggedStream, ReaderFrames, StreamInfo } from "../event_log.ts";
import type { StoredStream } from "./event_store.ts";
import type { Found } from "./replica.ts";

/** The operations on a stream that is in the store. */
export interface Remotes {
  follow(found: Found, after: number, follower: Follower, frames: ReaderFrames): Followed;
  /** Whether a gap was met after an event, and is still there. */
  hasGap(found: Found, after: number): Promise<boolean>;
  /**
   * Stops a stream and waits for its end.
   *
   * @throws {StreamError} `log_unavailable` (503) if it does not end.
   */
  stop(found: Found, reason?: string): Promise<void>;
}

/** A stream that another process makes, or that has ended. */
export class RemoteStream implements LoggedStream {
  readonly info: StreamInfo;
  readonly format: Format | undefined;
  readonly isRemote = true;
  readonly firstEvent: number;
  readonly lastEvent: number;
  readonly endEvent: number | undefined;
  readonly isLost: boolean;
  readonly #found: Found;
  readonly #remotes: Remotes;

  constructor(
    info: StreamInfo,
    format: Format | undefined,
    { producerId, first, last, end, isLost }: StoredStream,
    remotes: Remotes,
  ) {
    this.info = info;
    this.format = format;
    this.firstEvent = first;
    this.lastEvent = last;
    this.endEvent = end;
    this.isLost = isLost;
    this.#found = { streamId: info.streamId, producerId, isOver: isLost || end !== undefined };
    this.#remotes = remotes;
  }

  follow(after: number, follower: Follower, frames: ReaderFrames): Followed {
    return this.#remotes.follow(this.#found, after, follower, frames);
  }

  hasGap(after: number): Promise<boolean> {
    return this.#remotes.hasGap(this.#found, after);
  }

  async stop(reason?: string): Promise<void> {
    if (!this.#found.isOver) await this.#remotes.stop(this.#found, reason);
  }
}
