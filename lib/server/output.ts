/**
 * Standard output and standard error, written without waiting for whoever reads them: a log that nobody
 * reads any more, as a full pipe, would otherwise stop every stream. Separate from the stream log because
 * only bytes matter here.
 */
import { constants, fstatSync, openSync, writeSync } from "node:fs";
import process from "node:process";
import { asyncWriter } from "./listen.ts";

/**
 * Writes as many of the bytes as there is room for, and returns how many that were, at once or later.
 * Where nobody will ever read them, they count as written.
 */
export type WriteSome = (bytes: Uint8Array) => number | Promise<number>;

/** Bytes that may wait for the reader; further lines are dropped and counted. */
const MAX_BYTES = 2 ** 20;
/** How often a full pipe is tried again, in ms. */
const RETRY_MS = 50;
const encoder = new TextEncoder();

/** Lines for a reader that may be slow, or gone. */
export class Output {
  readonly #write: WriteSome;
  readonly #droppedLine: (lines: number) => string;
  readonly #maxBytes: number;
  readonly #waiting: Uint8Array[] = [];
  #bytes = 0;
  #dropped = 0;
  /** Whether a write is under way, or waits for room. */
  #isBusy = false;

  /**
   * @param droppedLine The line in place of so many that were dropped.
   */
  constructor(
    write: WriteSome,
    droppedLine: (lines: number) => string,
    maxBytes: number = MAX_BYTES,
  ) {
    this.#write = write;
    this.#droppedLine = droppedLine;
    this.#maxBytes = maxBytes;
  }

  /** Prints a text, which comes without its last line feed. */
  print(text: string): void {
    const bytes = encoder.encode(`${text}\n`);
    if (this.#bytes + bytes.length > this.#maxBytes) {
      this.#dropped++;
      return;
    }
    this.#tellDropped();
    this.#push(bytes);
    if (!this.#isBusy) this.#flush();
  }

  /** Writes what there is room for at once: the last chance before the process ends. */
  finish(): void {
    this.#flush();
  }

  #push(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    this.#push(encoder.encode(`${this.#droppedLine(this.#dropped)}\n`));
    this.#dropped = 0;
  }

  #flush(): void {
    this.#isBusy = false;
    while (!this.#isBusy && this.#waiting.length > 0) {
      const taken = this.#write(this.#waiting[0]!);
      if (typeof taken !== "number") {
        this.#isBusy = true;
        taken.then((bytes) => {
          this.#take(bytes);
          this.#flush();
        });
      } else if (taken > 0) this.#take(taken);
      else {
        this.#isBusy = true;
        setTimeout(() => this.#flush(), RETRY_MS).unref();
      }
    }
  }

  #take(bytes: number): void {
    const first = this.#waiting[0]!;
    this.#bytes -= bytes;
    // A line that was begun is ended before the next.
    if (bytes < first.length) this.#waiting[0] = first.subarray(bytes);
    else this.#waiting.shift();
    if (this.#waiting.length === 0) this.#tellDropped();
  }
}

/** Opens standard output, 1, or standard error, 2. */
export function openOutput(fd: 1 | 2, droppedLine: (lines: number) => string): Output {
  const output = new Output(writerOf(fd), droppedLine);
  process.on("exit", () => output.finish());
  return output;
}

function writerOf(fd: 1 | 2): WriteSome {
  try {
    const stats = fstatSync(fd);
    if (stats.isFile()) return (bytes) => written(fd, bytes);
    // Opened anew, because whether it waits is a property of what others use as well: their shell.
    const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
    const own = stats.isSocket() ? undefined : openSync(`/proc/self/fd/${fd}`, flags);
    if (own !== undefined) return (bytes) => written(own, bytes);
  } catch {
    // Closed, another user's, or not on Linux: the runtime writes it.
  }
  return asyncWriter(fd) ?? throughProcess(fd === 1 ? process.stdout : process.stderr);
}

function written(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    const { code } = error as { code?: unknown };
    return code === "EAGAIN" || code === "EWOULDBLOCK" ? 0 : bytes.length;
  }
}

function throughProcess(stream: NodeJS.WriteStream): WriteSome {
  // Who reads no more does not end the server.
  stream.on("error", () => {});
  return (bytes) => new Promise((resolve) => stream.write(bytes, () => resolve(bytes.length)));
}
