/**
 * The process that starts workers: it replaces one that has ended, adds up what they have counted, and
 * ends with the last of them. It serves no request itself.
 */
import type { Health, Report } from "../handler/together.ts";
import { type Clock, systemClock } from "../pipeline/scheduler.ts";
import type { Address } from "./listen.ts";
import type { FromWorker } from "./messages.ts";
import type { StartWorker, WorkerProcess } from "./processes.ts";
import { endedOf, sumOfReports, worstOf } from "./sums.ts";

/** How long a worker that has ended is not replaced, in ms; twice as long each further time. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** A worker that has served so long starts over with the first pause, in ms. */
const STEADY_MS = 10_000;
/** How long workers have to report for a scrape, in ms; then their report before counts. */
const REPORT_MS = 500;
/**
 * How long a worker that was sent SIGTERM waits for the others' signals, in ms: a system that stops the
 * server may send one to each process.
 */
const SAME_STOP_MS = 100;

/** A worker that was started. */
interface Started {
  readonly process: WorkerProcess;
  readonly sinceMs: number;
  report: Report | undefined;
  isListening: boolean;
  /** Whether it ends while the others go on. */
  isLeaving: boolean;
}

/** A scrape that waits for reports. */
interface Scrape {
  readonly missing: Set<Started>;
  readonly done: () => void;
}

/** What a supervisor is told. */
export interface SupervisorOptions {
  /** How many workers there are. */
  readonly workers: number;
  readonly start: StartWorker;
  /** Called with what an operator should know. */
  readonly onError: (error: Error) => void;
  readonly clock?: Clock;
}

/** Keeps a number of workers running, until it drains. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #clock: Clock;
  readonly #running = new Set<Started>();
  /** What workers have counted that have ended. */
  #ended: Report | undefined;
  #restarts = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #health: Health = "ok";
  #state: "starting" | "serving" | "draining" = "starting";
  readonly #pauses = new Set<unknown>();
  #asked = 0;
  readonly #scrapes = new Map<number, Scrape>();
  /** Resolves when every worker has ended after {@linkcode drain}. */
  readonly over: Promise<void>;
  #isOver!: () => void;
  #begun: (address: Address | undefined) => void = () => {};

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.over = new Promise((resolve) => this.#isOver = resolve);
  }

  /**
   * Starts all workers. Resolves with where they listen, or with nothing if one of them has ended before
   * it did: it was said why.
   */
  start(): Promise<Address | undefined> {
    const begun = new Promise<Address | undefined>((resolve) => this.#begun = resolve);
    // The others follow once it listens: what all of them would fail at is said once.
    this.#startWorker();
    return begun;
  }

  /** Lets all workers drain, or end at once. */
  drain(how: "all" | "now"): void {
    this.#state = "draining";
    for (const pause of this.#pauses) this.#clock.clearTimer(pause);
    this.#pauses.clear();
    for (const { process } of this.#running) process.send({ type: "drain", how });
    if (this.#running.size === 0) this.#isOver();
  }

  /** Ends the workers that are left, which have not done so by themselves. */
  kill(): void {
    for (const { process } of this.#running) process.kill();
  }

  #startWorker(): void {
    const process = this.#options.start({
      message: (message) => this.#receive(worker, message),
      ended: (fault) => this.#end(worker, fault),
    });
    const worker: Started = {
      process,
      sinceMs: this.#clock.now(),
      report: undefined,
      isListening: false,
      isLeaving: false,
    };
    this.#running.add(worker);
  }

  #receive(worker: Started, message: FromWorker): void {
    if (message.type === "listening") this.#listens(worker, message.address);
    else if (message.type === "report") this.#reported(worker, message);
    else if (message.type === "leaving") this.#leaves(worker);
    else {
      this.#collect((report) => worker.process.send({ type: "sum", asked: message.asked, report }));
    }
  }

  #listens(worker: Started, address: Address): void {
    worker.isListening = true;
    worker.process.send({ type: "health", health: this.#health });
    // It began while the others were told to end.
    if (this.#state === "draining") worker.process.send({ type: "drain", how: "all" });
    if (this.#state !== "starting") return;
    while (this.#running.size < this.#options.workers) this.#startWorker();
    if (this.#listening.length < this.#options.workers) return;
    this.#state = "serving";
    this.#begun(address);
  }

  get #listening(): Started[] {
    return [...this.#running].filter(({ isListening }) => isListening);
  }

  #leaves(worker: Started): void {
    this.#after(SAME_STOP_MS, () => {
      if (this.#state === "draining" || !this.#running.has(worker)) return;
      // Somebody has to take its clients.
      if (!this.#listening.some((other) => other !== worker && !other.isLeaving)) {
        return this.#leaves(worker);
      }
      worker.isLeaving = true;
      worker.process.send({ type: "drain", how: "alone" });
      this.#tellHealth();
    });
  }

  #end(worker: Started, fault: string | undefined): void {
    const what = `A worker has ended${fault === undefined ? "" : ` (${fault})`}`;
    this.#running.delete(worker);
    for (const scrape of this.#scrapes.values()) this.#arrived(scrape, worker);
    if (worker.report !== undefined) {
      const ended = endedOf(worker.report);
      this.#ended = this.#ended === undefined ? ended : sumOfReports([this.#ended, ended]);
    }
    if (this.#state === "draining") {
      if (this.#running.size === 0) this.#isOver();
      return;
    }
    if (this.#state === "starting") {
      if (fault !== undefined) this.#options.onError(new Error(what));
      this.#begun(undefined);
      return this.drain("now");
    }
    if (!worker.isLeaving || fault !== undefined) {
      this.#options.onError(new Error(`${what}, and is replaced`));
    }
    this.#replace(worker);
    this.#tellHealth();
  }

  #replace({ sinceMs, isLeaving }: Started): void {
    if (isLeaving || this.#clock.now() - sinceMs >= STEADY_MS) this.#pauseMs = FIRST_PAUSE_MS;
    this.#after(this.#pauseMs, () => {
      this.#restarts++;
      this.#startWorker();
    });
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  #after(ms: number, then: () => void): void {
    const pause = this.#clock.setTimer(() => {
      this.#pauses.delete(pause);
      then();
    }, ms);
    this.#pauses.add(pause);
  }

  #reported(worker: Started, { asked, report }: FromWorker & { type: "report" }): void {
    worker.report = report;
    this.#tellHealth();
    const scrape = asked === undefined ? undefined : this.#scrapes.get(asked);
    if (scrape !== undefined) this.#arrived(scrape, worker);
  }

  #arrived({ missing, done }: Scrape, worker: Started): void {
    if (missing.delete(worker) && missing.size === 0) done();
  }

  /** Asks the workers for reports, and calls `then` with the sum. */
  #collect(then: (report: Report) => void): void {
    const asked = ++this.#asked;
    const done = () => {
      this.#clock.clearTimer(timer);
      this.#scrapes.delete(asked);
      then(this.#sum());
    };
    const timer = this.#clock.setTimer(done, REPORT_MS);
    const missing = new Set(this.#listening);
    this.#scrapes.set(asked, { missing, done });
    for (const { process } of missing) process.send({ type: "report", asked });
  }

  #sum(): Report {
    const workers = this.#listening.flatMap(({ report }) => report ?? []);
    const ended = this.#ended === undefined ? [] : [this.#ended];
    const { stats, text } = sumOfReports([...workers, ...ended]);
    const own = `# HELP spillway_workers Processes that serve.
# TYPE spillway_workers gauge
spillway_workers ${workers.length}
# HELP spillway_worker_restarts_total Workers that were started in place of one that ended.
# TYPE spillway_worker_restarts_total counter
spillway_worker_restarts_total ${this.#restarts}
`;
    return { health: this.#health, stats, text: text + own };
  }

  /** Tells the workers the health of all of them, if it has changed. */
  #tellHealth(): void {
    const healths = this.#listening.filter(({ isLeaving }) => !isLeaving)
      .flatMap(({ report }) => report?.health ?? []);
    const health = worstOf(healths);
    if (health === this.#health) return;
    this.#health = health;
    for (const { process } of this.#running) process.send({ type: "health", health });
  }
}
