/**
 * Writes the generations of this process to the store in batches. Separate from the recording
 * because a generation and its readers here never wait for any of this.
 */
import type { StreamError } from "../../error.ts";
import type { Run } from "../../http/replay_log.ts";
import type { Recording } from "../recording.ts";
import { DueQueue } from "./due_queue.ts";
import type { AppendResult } from "./event_store.ts";
import type { PeerChannel, PeerMessage } from "./peers.ts";
import { RemoteReaders } from "./remote_readers.ts";
import type { StoreLink } from "./store_link.ts";
import {
  chatOf,
  dueMs,
  isBehind,
  noticeAt,
  pack,
  type PendingAppend,
  type StreamState,
  TOUCH_MS,
} from "./stream_state.ts";
import { replayError } from "../codes.ts";

/** What a writer calls. No method may throw. */
export interface LogWriterOwner {
  /** Called when all of a recording is in the store, or never will be. */
  release(recording: Recording): void;
  /** Called when another process reads, or would stop, a stream that this process does not have. */
  unknownStream(streamId: string): void;
  /** Called when another process wants to know whether this one lives. */
  asked(): void;
  /** Called from time to time while a recording goes on that its client has named, and at its end. */
  holdName(run: Run, streamId: string, isOver: boolean): void;
  /** Called when such a recording is forgotten. */
  freeName(key: string, streamId: string): void;
  report(error: unknown): void;
}

/** Streams that are due within so many ms are written together. */
const SLOT_MS = 25;
/**
 * Unread streams that begin together are first written over so many ms, and not all at once: they
 * would delay the others.
 */
const SPREAD_MS = 250;
/**
 * The most that is on its way to the store in all, in bytes. Stream ids are not counted and never
 * delayed. More would wait in the store's client, which has no limit, and on a busy core for so long
 * that the store would seem to be down: node-redis on Deno sends and receives one piece per turn of
 * the event loop.
 */
const FLIGHT_BYTES = 4 * 1024 * 1024;
/** The most that is written in one call, in bytes; a stream counts as some, however little it has. */
const BATCH_BYTES = 256 * 1024;
const STREAM_BYTES = 5 * 1024;
/**
 * The silence after which a reader elsewhere counts as gone, in ms; during and just after an outage
 * of the store it is a minute.
 */
const SUBSCRIBER_MS = 6000;
const SUBSCRIBER_OUTAGE_MS = 60_000;
/** How often the name of a stream is written, in ms: it is kept for a minute and more. */
const NAME_MS = 20_000;
const NEVER = -Infinity;

/**
 * The writer of a process. Each stream is in one queue, by the time at which it is to be written
 * next; when that has come, it is written as far as one budget of bytes allows.
 */
export class LogWriter {
  readonly #link: StoreLink;
  readonly #peers: PeerChannel;
  readonly #owner: LogWriterOwner;
  readonly #streams = new Map<string, StreamState>();
  readonly #queue = new DueQueue<StreamState>(SLOT_MS);
  /** Whether a new stream's id is on its way. */
  #isAnnouncing = false;
  /** Bytes of events that the store has not confirmed. */
  #inFlight = 0;
  /** Whether a stream is due and there was no room for it. */
  #isHeldUp = false;
  #spreadMs = 0;
  #timer: unknown;
  /** When the timer runs. */
  #timerMs = Infinity;

  constructor(link: StoreLink, peers: PeerChannel, owner: LogWriterOwner) {
    this.#link = link;
    this.#peers = peers;
    this.#owner = owner;
  }

  /** Whether something is still to be written. */
  get isBehind(): boolean {
    for (const stream of this.#streams.values()) if (isBehind(stream)) return true;
    return false;
  }

  /** Whether the store has a stream of this process. */
  isKnown(streamId: string): boolean {
    return this.#streams.get(streamId)?.isKnown === true;
  }

  /**
   * Adds a recording. Its id is written at once, or within 25 ms, because a client that knows it may
   * ask for the stream elsewhere.
   */
  add(recording: Recording): void {
    const stream: StreamState = {
      recording,
      readers: new RemoteReaders(recording, this.#link.clock),
      isKnown: false,
      event: 0,
      position: 0,
      writtenMs: NEVER,
      namedMs: this.#link.clock.now(),
      pausedUntilMs: NEVER,
      isWriting: false,
      dueMs: Infinity,
    };
    this.#streams.set(recording.info.streamId, stream);
    // Of a thousand streams that begin together, each would wait for the calls of all before it.
    if (this.#isAnnouncing || !this.#link.isUp) return this.#schedule(stream);
    this.#isAnnouncing = true;
    queueMicrotask(() => this.#write([stream]).finally(() => this.#isAnnouncing = false));
  }

  /** Called when there is something to be written of a recording. */
  touch(recording: Recording): void {
    const stream = this.#streams.get(recording.info.streamId);
    if (stream?.recording === recording) this.#schedule(stream);
  }

  /** Called when a recording is held no longer. */
  drop(recording: Recording): void {
    const stream = this.#streams.get(recording.info.streamId);
    if (stream?.recording !== recording) return;
    this.#streams.delete(recording.info.streamId);
    this.#queue.delete(stream);
  }

  /** Removes a recording that no client knows of; what was written of it is deleted. */
  forget(recording: Recording): void {
    const { streamId, owner, chatId, run } = recording.info;
    const stream = this.#streams.get(streamId);
    if (stream?.recording !== recording) return;
    if (run !== undefined) this.#owner.freeName(run.key, streamId);
    if (stream.writtenMs === NEVER) return;
    const chat = chatOf(owner, chatId);
    const { id } = this.#link.producer;
    this.#link.call((store) => store.forget(id, streamId, chat)).catch(() => {
      // The store is down: a process that asks for the stream will find that it is no longer made.
    });
  }

  /** Called after an outage: the store may have lost anything. */
  recover(): void {
    const nowMs = this.#link.clock.now();
    for (const stream of this.#streams.values()) {
      stream.writtenMs = nowMs - TOUCH_MS;
      const isAwaited = !stream.isKnown || stream.readers.size > 0;
      stream.pausedUntilMs = isAwaited ? NEVER : nowMs + this.#nextSpread();
      this.#schedule(stream);
    }
  }

  /** Called each second. */
  tick(): void {
    const isSteady = this.#link.wasUpFor(this.#link.producer.leaseMs);
    const silentMs = isSteady ? SUBSCRIBER_MS : SUBSCRIBER_OUTAGE_MS;
    for (const { readers } of this.#streams.values()) readers.expire(silentMs);
  }

  /** Handles a message of another process about streams of this one. */
  hear({ from, here, gone, stalled, stop, ask }: PeerMessage): void {
    for (const streamId of gone) {
      this.#streams.get(streamId)?.readers.leave(from, stalled.has(streamId));
    }
    for (const [streamId, event] of here) this.#subscribe(streamId, from, event);
    for (const [streamId, reason] of stop) {
      const stream = this.#streams.get(streamId);
      if (stream === undefined) this.#owner.unknownStream(streamId);
      else stream.recording.stop(reason || undefined);
    }
    if (ask.size === 0) return;
    for (const streamId of ask) {
      if (this.#streams.has(streamId)) this.#peers.to(from).wake.add(streamId);
      else this.#owner.unknownStream(streamId);
    }
    this.#peers.sendSoon();
    this.#owner.asked();
  }

  /** Writes everything that is there, due or not. */
  async write(): Promise<void> {
    await this.#write([...this.#streams.values()].filter(isBehind));
  }

  close(): void {
    // Messages from elsewhere no longer arrive, and a generation must not go on for those readers.
    for (const { readers } of this.#streams.values()) readers.expire(0);
    for (const stream of this.#streams.values()) this.#queue.delete(stream);
    this.#streams.clear();
    // Last, because what ends here may have set the timer.
    this.#link.clock.clearTimer(this.#timer);
  }

  /** Puts a stream into the queue, unless it is being written: then it is put there afterwards. */
  #schedule(stream: StreamState): void {
    if (stream.isWriting) return;
    this.#queue.set(stream, Math.max(dueMs(stream), stream.pausedUntilMs));
    stream.recording.notifyAt = noticeAt(stream);
    this.#arm();
  }

  /** Sets the timer for what is due next. */
  #arm(): void {
    if (!this.#link.isUp) return;
    const nowMs = this.#link.clock.now();
    // What is held up goes on when there is room; only new ids are looked for meanwhile.
    const atMs = Math.max(this.#queue.nextMs, this.#isHeldUp ? nowMs + SLOT_MS : nowMs);
    if (atMs >= this.#timerMs) return;
    this.#link.clock.clearTimer(this.#timer);
    this.#timerMs = atMs;
    this.#timer = this.#link.clock.setTimer(() => this.#run(), atMs - nowMs, true);
  }

  #run(): void {
    this.#timerMs = Infinity;
    this.#writeDue();
    this.#arm();
  }

  #writeDue(): void {
    // A timer may be a little early.
    if (this.#link.isUp) this.#write(this.#queue.due(this.#link.clock.now() + 1));
  }

  /** Writes streams. Two writes of one stream never overlap. */
  async #write(streams: readonly StreamState[]): Promise<void> {
    await Promise.all(this.#batches(streams).map((batch) => this.#append(batch)));
    this.#peers.send();
  }

  /** Packs streams into batches that are small enough not to delay other calls; new ids first. */
  #batches(streams: readonly StreamState[]): PendingAppend[][] {
    const batches: PendingAppend[][] = [];
    let batchBytes = Infinity;
    this.#isHeldUp = false;
    const nowMs = this.#link.clock.now();
    const isNew = ({ isKnown }: StreamState) => !isKnown;
    for (const stream of [...streams.filter(isNew), ...streams.filter(({ isKnown }) => isKnown)]) {
      // The stream may have been dropped since it was chosen.
      const isHeld = this.#streams.get(stream.recording.info.streamId) === stream;
      if (stream.isWriting || !isHeld) continue;
      const isFull = this.#inFlight >= FLIGHT_BYTES;
      if (isFull) {
        this.#isHeldUp = true;
        // Its client may ask for it elsewhere, so its id is written ahead, without its events.
        if (stream.isKnown) continue;
      }
      this.#queue.delete(stream);
      if (batchBytes > BATCH_BYTES) {
        batches.push([]);
        batchBytes = 0;
      }
      stream.writtenMs = nowMs - (stream.isKnown ? 0 : this.#nextSpread());
      stream.isWriting = true;
      const pending = pack(stream, isFull ? 0 : BATCH_BYTES);
      batches.at(-1)!.push(pending);
      batchBytes += pending.bytes + STREAM_BYTES;
      this.#inFlight += pending.bytes;
    }
    return batches;
  }

  #nextSpread(): number {
    return this.#spreadMs = (this.#spreadMs + SLOT_MS) % SPREAD_MS;
  }

  async #append(batch: readonly PendingAppend[]): Promise<void> {
    const appends = batch.map(({ append }) => append);
    const { producer } = this.#link;
    let results: readonly AppendResult[] = [];
    try {
      results = await this.#link.write((store) => store.append(producer, appends));
    } catch {
      // The link has reported it, and `recover` is called when the store is back.
    }
    for (const { stream, bytes } of batch) {
      stream.isWriting = false;
      this.#inFlight -= bytes;
    }
    batch.forEach((pending, i) => this.#settle(pending, results[i]));
    if (this.#isHeldUp) this.#writeDue();
  }

  /** Handles the result of a write; without one, the store did not respond. */
  #settle({ stream, append, position }: PendingAppend, result: AppendResult | undefined): void {
    const { recording, readers } = stream;
    if (this.#streams.get(append.streamId) !== stream) return;
    // An event that was never made is not this stream's, or the store's record of it is broken.
    if (result?.state === "ok" && !(result.last <= recording.lastEvent)) {
      result = { state: "failed", error: "its last event was never made" };
    }
    switch (result?.state) {
      case "ok": {
        const isComplete = result.last === append.last;
        this.#holdName(stream, isComplete && append.end !== undefined);
        stream.isKnown = true;
        stream.event = result.last;
        stream.position = isComplete ? position : recording.pages.positionAfter(result.last);
        for (const process of readers.processes) this.#peers.to(process).wake.add(append.streamId);
        if (isComplete && append.end !== undefined) return this.#owner.release(recording);
        break;
      }
      case "missing":
        stream.isKnown = false;
        stream.event = stream.position = 0;
        stream.namedMs = NEVER;
        break;
      case "taken":
        return this.#giveUp(recording, replayError("stream_exists"));
      case "lost":
        return this.#leaveAlone(stream);
      case "failed":
        stream.pausedUntilMs = this.#link.clock.now() + TOUCH_MS;
        this.#owner.report(new Error(`The store rejects a stream: ${result.error}`));
    }
    this.#schedule(stream);
  }

  /** Holds the name of a stream, if it has one, where it is time to. */
  #holdName(stream: StreamState, isOver: boolean): void {
    const { run, streamId } = stream.recording.info;
    const nowMs = this.#link.clock.now();
    if (run === undefined || !(isOver || nowMs - stream.namedMs >= NAME_MS)) return;
    stream.namedMs = nowMs;
    this.#owner.holdName(run, streamId, isOver);
  }

  /**
   * Writes a stream no more, because others have taken this process for lost and told their readers
   * so. It goes on for its readers here.
   */
  #leaveAlone({ recording, readers }: StreamState): void {
    const { streamId } = recording.info;
    this.drop(recording);
    readers.expire(0);
    recording.notifyAt = Infinity;
    const text = `A stream was taken for lost, and goes on for its clients here alone: ${streamId}`;
    this.#owner.report(new Error(text));
  }

  /** Ends a recording because the stream in the store is no longer this one. */
  #giveUp(recording: Recording, error: StreamError): void {
    recording.shutDown(error);
    this.#owner.release(recording);
  }

  #subscribe(streamId: string, from: string, event: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      // The end may have been written before this process knew of the reader.
      this.#peers.to(from).wake.add(streamId);
      return this.#owner.unknownStream(streamId);
    }
    if (!stream.readers.report(from, Number(event) || 0)) return;
    // From now on the stream is written more often.
    this.#schedule(stream);
    // The reader may have missed what was written since it looked.
    this.#peers.to(from).wake.add(streamId);
    this.#peers.sendSoon();
  }
}
