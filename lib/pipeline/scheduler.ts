/**
 * When a stream gets its turn: one hop through the event loop, shared by all streams. It stands apart
 * because it is the only thing that a runtime with other rules would have to replace.
 *
 * Measured with a burst that never ends, while another request waits for its answer:
 *
 * | hop | Bun 1.4 | Deno 2.9 |
 * | --- | --- | --- |
 * | `setImmediate` | 0.5 ms | 200 ms |
 * | `MessageChannel` | 500 ms: a thousand hops go before the sockets are looked at | 26 ms: fifty |
 * | `setTimeout(0)` | fair, at a third of the throughput | fair, at half of it |
 *
 * So Deno gets the channel and short turns, the others `setImmediate` (benchmark case: fairness).
 */

/** Something that wants a turn. `run` must not throw. */
export interface Task {
  /** Whether it waits for its turn; the scheduler's to write. */
  due: boolean;
  run(): void;
}

const immediate = "Deno" in globalThis
  ? undefined
  : (globalThis as { setImmediate?: (callback: () => void) => unknown }).setImmediate;

/**
 * What a source may make in one turn once its first 64 KiB are on their way, so that others wait a few
 * ms for a burst and not until its end (benchmark case: fairness). Deno makes some fifty hops before it
 * looks at its sockets, so there a turn has to be short; in items, for these are what takes the time.
 */
export const TURN_BYTES: number = 16 * 1024;
export const TURN_ITEMS: number = immediate === undefined ? 300 : 20_000;

/** Bun's engine has a way of its own through an async generator; V8 is a tenth slower that way. */
export const FOR_AWAIT_IS_FASTER: boolean = "Bun" in globalThis;

/** An open channel keeps Deno alive, whatever `unref` says; opening and closing one costs 28 µs. */
const LINGER_MS = 50;

/** Hops that follow each other for so long are a burst (benchmark case: fairness). */
const BUSY_MS = 3;
/** Hops that are so far apart do not follow each other. */
const IDLE_MS = 1;
let busySinceMs = 0;
let lastHopMs = 0;

let channel: MessageChannel | undefined;
let users = 0;
let due: Task[] = [];
let closing = false;

/** Lets a process that has nothing else to do end although `timer` is armed. */
export function unref(timer: unknown): void {
  const deno = (globalThis as { Deno?: { unrefTimer(timer: unknown): void } }).Deno;
  if (typeof timer === "number") deno?.unrefTimer(timer);
  else (timer as { unref?(): void }).unref?.();
}

/** A stream begins: from now on it may ask for turns. */
export function enter(): void {
  users++;
}

/** A stream ended and will not ask again. */
export function leave(): void {
  if (--users > 0 || channel === undefined || closing) return;
  closing = true;
  setTimeout(closeIdle, LINGER_MS);
}

/** Asks for one turn of the event loop, however often it is asked before that comes. */
export function schedule(task: Task): void {
  if (task.due) return;
  task.due = true;
  if (due.push(task) > 1) return;
  if (immediate !== undefined) immediate(runDue);
  else hop();
}

/** By the channel; after a few ms of nothing else by a timer, for a channel's hops go before the sockets. */
function hop(): void {
  const nowMs = performance.now();
  if (nowMs - lastHopMs > IDLE_MS) busySinceMs = nowMs;
  lastHopMs = nowMs;
  if (nowMs - busySinceMs > BUSY_MS) {
    busySinceMs = nowMs;
    setTimeout(runDue, 0);
    return;
  }
  channel ??= openChannel();
  channel.port2.postMessage(null);
}

function runDue(): void {
  const tasks = due;
  due = [];
  for (const task of tasks) {
    task.due = false;
    task.run();
  }
}

function openChannel(): MessageChannel {
  const opened = new MessageChannel();
  opened.port1.onmessage = runDue;
  return opened;
}

/** The streams of one moment share a channel; it goes when none came after them, and with it what is due of those that ended. */
function closeIdle(): void {
  closing = false;
  if (users > 0) return;
  due = [];
  channel?.port1.close();
  channel = undefined;
}
