/**
 * The ids of the events of one stream. Separate from the encoder so that they are in a program only
 * with a log.
 */
import { CountedText } from "./counted.ts";
import { Constant } from "./utf8.ts";

/** The line `id: {stream}.{sequence}`. */
export class EventIds extends CountedText {
  /** The reconnection time, which the first event carries. */
  readonly retry: Constant;
  /** Whether events are counted and show no id. */
  readonly isHidden: boolean;

  /**
   * Creates the ids of a stream, before its first event.
   *
   * @param streamId `A-Z a-z 0-9 _ -` only.
   */
  constructor(streamId: string, retryMs: number | undefined, isHidden: boolean) {
    super(`id: ${streamId}.`, "\n");
    this.retry = retryOf(retryMs);
    this.isHidden = isHidden;
  }
}

/** The line of the stream before: nearly all have the same. */
let last: { retryMs: number | undefined; line: Constant } | undefined;

function retryOf(retryMs: number | undefined): Constant {
  if (last === undefined || last.retryMs !== retryMs) {
    const line = new Constant(retryMs === undefined ? "" : `retry: ${retryMs}\n`);
    last = { retryMs, line };
  }
  return last.line;
}
