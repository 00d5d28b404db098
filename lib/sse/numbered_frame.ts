/**
 * A frame for formats that number their events. Separate from the encoder so that it is in a program
 * only with such a format.
 */
import { CountedText } from "./counted.ts";
import { eventFrame } from "./encode.ts";
import type { Constant, Frame } from "./utf8.ts";

/** A frame for events that have their number behind their text: the same frame for each of them. */
export class NumberedFrame implements Frame {
  /** @internal */
  readonly head: Constant;
  /** @internal */
  readonly tail: Constant;
  /** @internal */
  readonly escapes: Frame["escapes"];
  readonly #number: CountedText;
  #next = 0;

  /** Prepares the event `{before}<string>{between}{number}{after}`. No part may hold a line break. */
  constructor(event: string, before: string, between: string, after: string) {
    const { head, escapes } = eventFrame(event, before, "");
    this.head = head;
    this.escapes = escapes;
    this.#number = new CountedText(between, `${after}\n\n`);
    this.tail = this.#number.line;
  }

  /** Sets the number of the event that is written next. */
  at(number: number): this {
    if (number === this.#next + 1) this.#number.next();
    else this.#number.count(number);
    this.#next = number;
    return this;
  }
}
