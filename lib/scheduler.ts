/**
 * When a stream gets its turn: one hop through the event loop, shared by all streams. It stands apart
 * because it is the only thing that a runtime with other rules would have to replace.
 *
 * A hop is a `MessageChannel` message: on Deno `setImmediate` and `setTimeout(0)` made bursts six
 * times slower. An open channel keeps Deno and Node alive whatever `unref` says, so it is opened with
 * the first stream and closed after the last.
 */

/** Something that wants a turn. `run` must not throw. */
export interface Task {
  run(): void;
}

let channel: MessageChannel | undefined;
let users = 0;
let due: Task[] = [];

/** A stream begins: from now on it may ask for turns. */
export function enter(): void {
  if (users++ > 0) return;
  channel = new MessageChannel();
  channel.port1.onmessage = runDue;
}

/** A stream ended and will not ask again; turns it asked for may be dropped. */
export function leave(): void {
  if (--users > 0) return;
  channel?.port1.close();
  channel = undefined;
  due = [];
}

/** Asks for one turn of the event loop. Asking twice gives two calls. */
export function schedule(task: Task): void {
  if (due.push(task) === 1) channel?.port2.postMessage(null);
}

function runDue(): void {
  const tasks = due;
  due = [];
  for (const task of tasks) task.run();
}
