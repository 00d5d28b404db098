/**
 * The ids of the events of one stream. Separate from the encoder so that they are in a program only
 * with a log.
 */
import { CountedText } from "./counted.ts";
import { Constant } from "./utf8.ts";

const FIELD = "id: ";
/** The longest stream id, with the dot behind it. */
const LONGEST_NAME = `${"x".repeat(128)}.`;
/** How many lines there are at most: more than streams that make tokens at full speed at one time. */
const MOST_LINES = 256;

/** A line, and the stream whose id it has. */
class IdLine extends CountedText {
  owner: EventIds;

  constructor(owner: EventIds) {
    super(`${FIELD}${LONGEST_NAME}`, "\n");
    this.owner = owner;
  }
}

/**
 * The lines of the streams that have written last: a line of its own would cost each of thousands of
 * streams that wait 0.9 KB on Bun.
 */
const lines: IdLine[] = [];
let oldest = 0;

/** The lines `id: {stream}.{sequence}`. */
export class EventIds {
  /** The reconnection time, which the first event carries. */
  readonly retry: Constant;
  /** Whether events are counted and show no id. */
  readonly isHidden: boolean;
  /** The stream id, with the dot behind it. */
  readonly #name: string;
  #event = 0;
  /** The line that has the id of event `#event`, unless it is another stream's by now. */
  #line: IdLine | undefined;

  /**
   * Creates the ids of a stream, before its first event.
   *
   * @param streamId 1 to 128 of `A-Z a-z 0-9 _ -`.
   */
  constructor(streamId: string, retryMs: number | undefined, isHidden: boolean) {
    this.#name = `${streamId}.`;
    this.retry = retryOf(retryMs);
    this.isHidden = isHidden;
  }

  /** Moves to the next event. Returns its line, which is to be written at once. */
  next(): Constant {
    const event = ++this.#event;
    const line = this.#line;
    if (line?.owner === this) line.next();
    else return this.#begin(event);
    return line.line;
  }

  /** Moves to event number `event`. */
  count(event: number): void {
    this.#event = event;
    this.#line = undefined;
  }

  #begin(event: number): Constant {
    const line = lineFor(this);
    line.rename(FIELD.length, this.#name, event);
    this.#line = line;
    return line.line;
  }
}

/** A new line, or the one that was taken longest ago. */
function lineFor(owner: EventIds): IdLine {
  if (lines.length < MOST_LINES) {
    const line = new IdLine(owner);
    lines.push(line);
    return line;
  }
  const line = lines[oldest]!;
  oldest = (oldest + 1) % MOST_LINES;
  line.owner = owner;
  return line;
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
