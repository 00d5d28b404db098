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
 * So Deno gets the channel and small turns, the others `setImmediate` (benchmark case: fairness). An
 * open channel keeps Deno alive whatever `unref` says: it is opened with the first stream and closed
 * after the last.
 */

/** Something that wants a turn. `run` must not throw. */
export interface Task {
  run(): void;
}

const immediate = "Deno" in globalThis
  ? undefined
  : (globalThis as { setImmediate?: (callback: () => void) => unknown }).setImmediate;

/**
 * Bytes that a source may make in one turn once its first 64 KiB are on their way: about 5 ms between
 * two looks at the sockets (benchmark case: fairness; a tenth of the throughput of one endless burst).
 */
export const TURN_BYTES: number = immediate === undefined ? 4 * 1024 : 16 * 1024;

let channel: MessageChannel | undefined;
let users = 0;
let due: Task[] = [];

/** A stream begins: from now on it may ask for turns. */
export function enter(): void {
  if (users++ > 0 || immediate !== undefined) return;
  channel = new MessageChannel();
  channel.port1.onmessage = runDue;
}

/** A stream ended and will not ask again; turns it asked for may be dropped. */
export function leave(): void {
  if (--users > 0 || channel === undefined) return;
  channel.port1.close();
  channel = undefined;
  due = [];
}

/** Asks for one turn of the event loop. Asking twice gives two calls. */
export function schedule(task: Task): void {
  if (due.push(task) > 1) return;
  if (immediate !== undefined) immediate(runDue);
  else channel?.port2.postMessage(null);
}

function runDue(): void {
  const tasks = due;
  due = [];
  for (const task of tasks) task.run();
}
