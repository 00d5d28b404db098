/**
 * The side of a worker: one process of several that serve one port. It reports what it has counted, asks
 * its parent for what all of them have, and drains when the parent says so.
 */
import type { Health, Report, Together } from "../handler/together.ts";
import type { Address } from "./listen.ts";
import type { Drain, ToWorker } from "./messages.ts";
import type { Parent } from "./processes.ts";
import { worstOf } from "./sums.ts";

/** How often a worker reports, in ms: as much is lost of its counts if it is killed. */
const REPORT_MS = 1000;
/** How long the parent has for the sum, in ms; then a worker shows what it has counted itself. */
const SUM_MS = 2000;

/** One worker. */
export class Worker implements Together {
  readonly #parent: Parent;
  readonly #drain: (how: Drain) => void;
  /** The health of all workers, as the parent has told it last. */
  #health: Health = "ok";
  #isLeavingAlone = false;
  #own: (() => Report) | undefined;
  #asked = 0;
  readonly #sums = new Map<number, (report: Report) => void>();

  /**
   * @param drain Called with each word of the parent on how to end.
   */
  constructor(parent: Parent, drain: (how: Drain) => void) {
    this.#parent = parent;
    this.#drain = drain;
    parent.listen({
      message: (message) => this.#receive(message),
      // The parent alone restarts workers and stops them, so none stays without it.
      gone: () => this.#drain("alone"),
    });
  }

  join(own: () => Report): void {
    this.#own = own;
    setInterval(() => this.#send(), REPORT_MS).unref();
  }

  report(): Promise<Report> {
    const asked = ++this.#asked;
    return new Promise((resolve) => {
      const done = (report: Report) => {
        clearTimeout(timer);
        this.#sums.delete(asked);
        resolve(report);
      };
      const timer = setTimeout(() => done(this.#own!()), SUM_MS);
      this.#sums.set(asked, done);
      this.#parent.send({ type: "sum", asked });
    });
  }

  health(own: Health): Health {
    // The others go on, and answer for the whole.
    return this.#isLeavingAlone ? this.#health : worstOf([own, this.#health]);
  }

  /** Tells the parent that this worker listens. */
  listening(address: Address): void {
    this.#send();
    this.#parent.send({ type: "listening", address });
  }

  /** Asks the parent how to end. */
  leave(): void {
    this.#parent.send({ type: "leaving" });
  }

  /** Reports for the last time. */
  finish(): void {
    this.#send();
  }

  #send(asked?: number): void {
    if (this.#own === undefined) return;
    const report = this.#own();
    this.#parent.send({ type: "report", ...asked === undefined ? {} : { asked }, report });
  }

  #receive(message: ToWorker): void {
    if (message.type === "report") this.#send(message.asked);
    else if (message.type === "sum") this.#sums.get(message.asked)?.(message.report);
    else if (message.type === "health") this.#health = message.health;
    else if (message.type === "drain") {
      if (message.how === "alone") this.#isLeavingAlone = true;
      this.#drain(message.how);
    }
  }
}
