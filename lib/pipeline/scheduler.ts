/**
 * When a stream gets its turn: one hop through the event loop, shared by all streams, or one each
 * where turns belong to a request. Separate from the stream because a runtime with other rules has
 * them here and in the heartbeat alone.
 *
 * Measured with a burst that never ends, while another request waits for its response:
 *
 * | hop | Bun 1.4 | Deno 2.9 |
 * | --- | --- | --- |
 * | `setImmediate` | 0.5 ms | 200 ms |
 * | `MessageChannel` | 500 ms: a thousand hops go before the sockets are looked at | 26 ms: fifty |
 * | `setTimeout(0)` | fair, at a third of the throughput | fair, at half of it |
 *
 * Therefore Deno uses the channel and short turns, and the others `setImmediate` (benchmark case:
 * fairness).
 */
import { active } from "../counters.ts";

/** Something that asks for turns. `run` must not throw. */
export interface Task {
  /** Whether the task waits for its turn. Written by the scheduler alone. */
  due: boolean;
  run(): void;
}

const runtime = globalThis as {
  navigator?: { userAgent?: string };
  setImmediate?: (callback: () => void) => unknown;
};

/**
 * Whether turns and timers belong to the request in which they were asked for, and are gone when it
 * has ended: on workerd, and on the edge runtime of Vercel and Next. There every stream has turns
 * and a timer of its own, because one that is shared is lost for all streams with the request that
 * happened to ask for it.
 */
export const PER_REQUEST: boolean = runtime.navigator?.userAgent === "Cloudflare-Workers" ||
  "EdgeRuntime" in globalThis;

/** Whether the runtime is Bun. */
export const IS_BUN: boolean = "Bun" in globalThis;

/**
 * Bun's own `Response`, which copies the bytes that it is given: a library may have replaced it by one
 * that keeps them, as `@hono/node-server` does.
 */
export const COPYING_RESPONSE: unknown = IS_BUN && /native code/.test(`${Response}`) && Response;

const immediate = PER_REQUEST || "Deno" in globalThis ? undefined : runtime.setImmediate;

/**
 * The most that a source may make in one turn once its first 64 KiB were sent, so that other
 * streams wait a few ms for a burst and not until its end (benchmark case: fairness). Deno makes
 * some fifty hops before it looks at its sockets, so its turns have to be short. There the limit is
 * in items, because they take the time.
 */
export const TURN_BYTES: number = 16 * 1024;
export const TURN_ITEMS: number = immediate === undefined && !PER_REQUEST ? 300 : 20_000;

/**
 * How long an unused channel stays open, in ms. An open channel keeps Deno alive, whatever `unref`
 * says; opening and closing one costs 28 µs.
 */
const LINGER_MS = 50;

/** How long hops have to follow each other to count as a burst, in ms (benchmark case: fairness). */
const BUSY_MS = 3;
/** Hops that are further apart, in ms, do not follow each other. A long round is no such gap. */
const IDLE_MS = 1;
let busySinceMs = 0;
let lastHopMs = 0;

let channel: MessageChannel | undefined;
let users = 0;
let due: Task[] = [];
let closing = false;

/** The most turns of a round that are whole. With more, each is shorter, and the round is no longer. */
const WHOLE_TURNS = 256;
/** By how much the turns of the latest round are shortened: 1 is not at all. */
export let crowding = 1;

/** Time and timers, so that what waits can be tested without waiting. */
export interface Clock {
  /** The time in ms, from any start; it never goes back. */
  now(): number;
  /**
   * Calls `run` once, after `ms`.
   *
   * @param isBackground Whether a process that has nothing else to do may end before.
   * @returns The timer, for `clearTimer`.
   */
  setTimer(run: () => void, ms: number, isBackground?: boolean): unknown;
  /** Takes a timer back. One that has run, or `undefined`, is ignored. */
  clearTimer(timer: unknown): void;
  /** A number from 0 up to 1, which spreads retries over time. @default {Math.random} */
  random?(): number;
}

/** The runtime's own time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(run, ms, isBackground = false) {
    const timer: unknown = setTimeout(run, ms);
    if (isBackground) unref(timer);
    return timer;
  },
  clearTimer: (timer) => clearTimeout(timer as number | undefined),
};

/**
 * Resolves after `ms`, or when the signal aborts; without `ms` only then. The timer is cleared in both
 * cases.
 */
export function sleep(
  ms: number | undefined,
  signal: AbortSignal,
  clock: Clock = systemClock,
): Promise<void> {
  return new Promise((resolve) => {
    let timer: unknown;
    const wake = () => {
      signal.removeEventListener("abort", wake);
      active.listeners--;
      if (ms !== undefined) {
        clock.clearTimer(timer);
        active.timers--;
      }
      resolve();
    };
    active.listeners++;
    signal.addEventListener("abort", wake);
    if (ms !== undefined) {
      active.timers++;
      timer = clock.setTimer(wake, ms);
    }
    if (signal.aborted) wake();
  });
}

export function unref(timer: unknown): void {
  const deno = (globalThis as { Deno?: { unrefTimer(timer: unknown): void } }).Deno;
  if (typeof timer === "number") deno?.unrefTimer(timer);
  else (timer as { unref?(): void }).unref?.();
}

/** Called when a stream begins, which may then ask for turns. */
export function enter(): void {
  users++;
}

/** Called when a stream has ended and will not ask for turns again. */
export function leave(): void {
  if (--users > 0 || channel === undefined || closing) return;
  closing = true;
  setTimeout(closeIdle, LINGER_MS);
}

/** Asks for one turn of the event loop. Further calls before that turn have no effect. */
export function schedule(task: Task): void {
  if (task.due) return;
  task.due = true;
  if (PER_REQUEST) return askForTurn(task);
  if (due.push(task) > 1) return;
  try {
    if (immediate !== undefined) immediate(runDue);
    else hop();
  } catch {
    // A runtime without this hop: the turn comes by a timer, and nobody waits behind it.
    due = [];
    askForTurn(task);
  }
}

function askForTurn(task: Task): void {
  const run = () => catchUp(task);
  try {
    setTimeout(run, 0);
  } catch {
    // Late for other streams, but a turn that is lost would be the end of this one.
    queueMicrotask(run);
  }
}

/**
 * Gives a task the turn that it waits for, if it does. With turns of their own, tasks also call it
 * from a timer, because a turn is lost if another request has asked for it and ended.
 */
export function catchUp(task: Task): void {
  if (!task.due) return;
  task.due = false;
  task.run();
}

/**
 * Makes one hop: through the channel, or after a few ms of only hops through a timer, because a
 * channel's hops go before the sockets.
 */
function hop(): void {
  const nowMs = performance.now();
  if (nowMs - lastHopMs > IDLE_MS) busySinceMs = nowMs;
  lastHopMs = nowMs;
  if (nowMs - busySinceMs > BUSY_MS) {
    busySinceMs = nowMs;
    setTimeout(runDue, 0);
    return;
  }
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = runDue;
  }
  channel.port2.postMessage(null);
}

function runDue(): void {
  const tasks = due;
  due = [];
  crowding = Math.max(1, tasks.length / WHOLE_TURNS);
  for (const task of tasks) catchUp(task);
  const nowMs = performance.now();
  // The next hop follows a long round, as it follows a short one.
  if (nowMs - lastHopMs > BUSY_MS) lastHopMs = nowMs;
}

/**
 * Closes the channel if no stream has begun since; all turns that are still due belong to ended
 * streams.
 */
function closeIdle(): void {
  closing = false;
  if (users > 0) return;
  due = [];
  channel?.port1.close();
  channel = undefined;
}
