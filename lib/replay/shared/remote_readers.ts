/**
 * The readers that other processes have of a recording here. Separate from the writer because they
 * keep a source going and set its pace, whatever is written when.
 */
import type { Clock } from "../../pipeline/scheduler.ts";
import type { EventPage } from "../event_pages.ts";
import type { Recording } from "../recording.ts";
import type { Subscriber } from "../recording_owner.ts";

/** The readers of one other process: one subscriber for all of them. */
class RemoteSubscriber implements Subscriber {
  readonly #recording: Recording;
  /** The last event that the fastest of these readers has. */
  #event = 0;
  position = 0;
  seenMs = 0;

  constructor(recording: Recording) {
    this.#recording = recording;
  }

  get page(): EventPage {
    return this.#recording.pages.pageAfter(this.#event);
  }

  moveTo(event: number, nowMs: number): void {
    this.#event = event;
    this.position = this.#recording.pages.positionAfter(event);
    this.seenMs = nowMs;
  }

  /** Does nothing: these readers are woken after each write. */
  run(): void {}
}

/** The readers of one recording in all other processes. */
export class RemoteReaders {
  readonly #recording: Recording;
  readonly #clock: Clock;
  readonly #subscribers = new Map<string, RemoteSubscriber>();

  constructor(recording: Recording, clock: Clock) {
    this.#recording = recording;
    this.#clock = clock;
  }

  /** Number of processes that have readers. */
  get size(): number {
    return this.#subscribers.size;
  }

  /** The ids of the processes that have readers. */
  get processes(): Iterable<string> {
    return this.#subscribers.keys();
  }

  /**
   * Called when a process reports how far its readers have come. Returns whether it had none before.
   */
  report(process: string, event: number): boolean {
    let subscriber = this.#subscribers.get(process);
    const isNew = subscriber === undefined;
    subscriber ??= new RemoteSubscriber(this.#recording);
    subscriber.moveTo(event, this.#clock.now());
    if (isNew) {
      this.#subscribers.set(process, subscriber);
      this.#recording.markServed();
      this.#recording.join(subscriber);
    } else this.#recording.moved(subscriber);
    return isNew;
  }

  /**
   * Called when a process has no readers any more.
   *
   * @param hasStalled Whether the last one was dropped because it took nothing.
   */
  leave(process: string, hasStalled = false): void {
    const subscriber = this.#subscribers.get(process);
    if (subscriber === undefined) return;
    this.#subscribers.delete(process);
    this.#recording.leave(subscriber, false, hasStalled);
  }

  /** Gives up the readers of processes that have been silent for so long. */
  expire(silentMs: number): void {
    const nowMs = this.#clock.now();
    for (const [process, { seenMs }] of this.#subscribers) {
      if (nowMs - seenMs >= silentMs) this.leave(process);
    }
  }
}
