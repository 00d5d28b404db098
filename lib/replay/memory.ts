/** The replay log of one process: nothing to install, and gone with the process. */
import type { LogUsage } from "../http/replay_log.ts";
import { type Clock, systemClock } from "../pipeline/scheduler.ts";
import { BaseLog } from "./base_log.ts";
import type { LoggedStream, RecordOptions, StreamInfo } from "./event_log.ts";
import { Recording } from "./recording.ts";
import type { RecordingOwner } from "./recording_owner.ts";
import { replayError } from "./codes.ts";
import { Room } from "./room.ts";
import { RunNames } from "./run_names.ts";
import { checkOptionNames } from "../option_names.ts";

/** Limits of a {@linkcode MemoryLog}. */
export interface MemoryLogOptions {
  /** Bytes of one stream's events, 128 KiB or more. @default {1 MiB} */
  maxStreamBytes?: number;
  /** Events of one stream, 10 000 or more. @default {20 000} */
  maxStreamEvents?: number;
  /**
   * Bytes of all streams, at least `maxStreamBytes`; one owner's may have a quarter of it. Past it the
   * oldest finished streams are dropped; then live ones whose clients have taken nothing for 5 s, or
   * that have none, give up their oldest events down to 128 KiB, the longest stalled first; then new
   * streams are rejected, with 503, or 429 past the quarter. @default {256 MiB}
   */
  maxBytes?: number;
  /** How long a stream is kept after its end, in ms, 0 or more. @default {300 000} */
  keepMs?: number;
  /** Time and timers, for tests. @default {the runtime's} */
  clock?: Clock;
}

type Limits = Required<Omit<MemoryLogOptions, "clock">>;

const DEFAULTS: Limits = {
  maxStreamBytes: 1024 * 1024,
  maxStreamEvents: 20_000,
  maxBytes: 256 * 1024 * 1024,
  keepMs: 300_000,
};
/** Memory of a stream beside its events and names, in bytes: maps and objects. */
const STREAM_BYTES = 1024;
/** Memory of the name that a client has given its stream, in bytes: two hashes, and where they are kept. */
const RUN_BYTES = 512;
/** The part of the log that one owner's streams may have: a quarter, if one stream fits in. */
const OWNER_SHARE = 4;
const OWNER_FULL = {
  status: 429,
  retryAfter: 1,
  detail: "Your streams fill the share of the log that one owner may have",
};

/** Events of the recordings for a log that builds on this one. */
type RecordingEvents = Partial<
  Pick<RecordingOwner<Recording>, "appended" | "ended" | "forget" | "dropped">
>;

/** A replay log in memory, bounded in each direction. */
export class MemoryLog extends BaseLog {
  readonly #options: Limits;
  readonly #clock: Clock;
  readonly #recordings = new Map<string, Recording>();
  readonly #room: Room;
  /** The latest stream of each chat. */
  readonly #chats = new Map<string, Recording>();
  readonly #names = new RunNames();
  #timer: unknown;
  readonly #recordingOwner: RecordingOwner<Recording>;
  readonly #above: RecordingEvents;

  /**
   * Creates an empty log.
   *
   * @param above Callbacks of a log that builds on this one.
   * @throws {RangeError} If a limit is out of its bounds.
   */
  constructor(options: MemoryLogOptions = {}, above: RecordingEvents = {}) {
    super();
    this.#options = check(options);
    this.#clock = options.clock ?? systemClock;
    this.#above = above;
    const { maxBytes, maxStreamBytes } = this.#options;
    const maxOwnerBytes = Math.max(maxBytes / OWNER_SHARE, maxStreamBytes);
    this.#room = new Room({ maxBytes, maxOwnerBytes }, this.#clock, {
      recordings: this.#recordings,
      drop: (recording) => this.#drop(recording),
    });
    this.#recordingOwner = {
      ...above,
      clock: this.#clock,
      maxStreamBytes,
      maxStreamEvents: this.#options.maxStreamEvents,
      held: ({ owner }, bytes) => this.#room.add(owner, bytes) === undefined,
      ended: (recording) => this.#keep(recording),
      forget: (recording) => {
        above.forget?.(recording);
        this.#drop(recording);
      },
    };
  }

  /** Number of bytes that are held, including the streams' names. */
  get bytes(): number {
    return this.#room.bytes;
  }

  /** Number of streams that are held. */
  get size(): number {
    return this.#recordings.size;
  }

  /** What is held: streams, their events, and bytes with the streams' names. */
  usage(): LogUsage {
    let events = 0;
    for (const { firstEvent, lastEvent } of this.#recordings.values()) {
      events += lastEvent + 1 - firstEvent;
    }
    return { streams: this.size, events, bytes: this.bytes };
  }

  /**
   * Begins the recording of a new stream.
   *
   * @internal
   */
  override record(info: StreamInfo, options: RecordOptions): Recording {
    this.#expire();
    if (this.#recordings.has(info.streamId)) throw replayError("stream_exists");
    const bytes = infoBytes(info);
    const full = this.#room.add(info.owner, bytes);
    if (full !== undefined) {
      this.#room.add(info.owner, -bytes);
      throw replayError("log_full", full === "owner" ? OWNER_FULL : { retryAfter: 1 });
    }
    const recording = new Recording(info, options, this.#recordingOwner);
    this.#recordings.set(info.streamId, recording);
    if (info.chatId !== undefined) this.#chats.set(chatKey(info.owner, info.chatId), recording);
    if (info.run !== undefined) this.#names.begin(info.run.key);
    return recording;
  }

  /**
   * Finds a stream by its id.
   *
   * @internal
   */
  override find(streamId: string): Promise<LoggedStream | undefined> {
    this.#expire();
    return Promise.resolve(this.#recordings.get(streamId));
  }

  /**
   * Finds the latest stream of a chat.
   *
   * @internal
   */
  override latest(owner: string | undefined, chatId: string): Promise<LoggedStream | undefined> {
    this.#expire();
    return Promise.resolve(this.#chats.get(chatKey(owner, chatId)));
  }

  /**
   * The names that clients have given the streams.
   *
   * @internal
   */
  override get names(): RunNames {
    this.#expire();
    return this.#names;
  }

  /**
   * Drops a recording, whether it has ended or not.
   *
   * @internal
   */
  release(recording: Recording): void {
    this.#drop(recording);
  }

  /**
   * Drops what is held of a stream that has ended.
   *
   * @internal
   */
  override drop({ info }: LoggedStream): Promise<void> {
    const recording = this.#recordings.get(info.streamId);
    if (recording !== undefined) this.#recordingOwner.forget(recording);
    return Promise.resolve();
  }

  #keep(recording: Recording): void {
    if (this.#recordings.get(recording.info.streamId) !== recording) return;
    this.#room.end(recording);
    this.#above.ended?.(recording);
    this.#expire();
  }

  #drop(recording: Recording): void {
    const { streamId, owner, chatId, run } = recording.info;
    if (!this.#recordings.delete(streamId)) return;
    if (run !== undefined) this.#names.free(run.key, streamId);
    this.#room.remove(recording, recording.pages.heldBytes + infoBytes(recording.info));
    this.#above.dropped?.(recording);
    if (chatId === undefined) return;
    const key = chatKey(owner, chatId);
    if (this.#chats.get(key) === recording) this.#chats.delete(key);
  }

  /** Drops streams that ended long enough ago, and sets the timer for the next one. */
  #expire(): void {
    const { keepMs } = this.#options;
    const nowMs = this.#clock.now();
    const { ended } = this.#room;
    for (let oldest = ended.first(); oldest !== undefined; oldest = ended.first()) {
      const leftMs = ended.timeOf(oldest) + keepMs - nowMs;
      if (leftMs > 0) return this.#arm(leftMs);
      this.#drop(oldest);
    }
  }

  #arm(ms: number): void {
    if (this.#timer !== undefined) return;
    this.#timer = this.#clock.setTimer(
      () => {
        this.#timer = undefined;
        this.#expire();
      },
      Math.min(ms + 1, 2 ** 31 - 1),
      true,
    );
  }
}

/**
 * Memory of the untrusted names, in bytes: two per character, in the stream and in the key of its
 * chat.
 */
function infoBytes({ owner = "", chatId = "", run }: StreamInfo): number {
  return STREAM_BYTES + 4 * (owner.length + chatId.length) + (run === undefined ? 0 : RUN_BYTES);
}

/** One key for two names; no other two names make the same key. */
function chatKey(owner: string | undefined, chatId: string): string {
  return JSON.stringify([owner, chatId]);
}

function check(options: MemoryLogOptions): Limits {
  checkOptionNames("Cannot create the log", options, [...Object.keys(DEFAULTS), "clock"]);
  const checked = { ...DEFAULTS };
  const least = { maxStreamBytes: 128 * 1024, maxStreamEvents: 10_000, maxBytes: 0, keepMs: 0 };
  for (const name of Object.keys(DEFAULTS) as (keyof Limits)[]) {
    const value = options[name] ?? DEFAULTS[name];
    if (!(typeof value === "number" && value >= least[name])) {
      throw new RangeError(`Cannot create the log: ${name} is not ${least[name]} or more`);
    }
    checked[name] = value;
  }
  if (options.maxBytes === undefined) {
    checked.maxBytes = Math.max(checked.maxBytes, checked.maxStreamBytes);
  }
  if (checked.maxBytes < checked.maxStreamBytes) {
    throw new RangeError("Cannot create the log: maxBytes is less than maxStreamBytes");
  }
  return checked;
}
