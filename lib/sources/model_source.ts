/**
 * Asks an upstream for an answer, whatever API it has: limits of time and size, retries, fallbacks,
 * and what each of its failures means. How a request is written and an event is read is a `Dialect`.
 */
import type { ChatFields, ChatMessage } from "../chat.ts";
import { publicError, StreamError, upstreamFailed } from "../error.ts";
import type { SourceContext } from "../pipeline/pump.ts";
import type { Item, Summary } from "../item.ts";
import { accepted, AsyncQueue } from "../pipeline/queue.ts";
import { type Clock, systemClock } from "../pipeline/scheduler.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { Deadline } from "./deadline.ts";
import { type AnswerReader, type Dialect, FAILED } from "./dialect.ts";
import {
  type CheckedUpstream,
  checkOptions,
  type ModelLimits,
  type ModelOptions,
  type ModelUpstream,
} from "./model_options.ts";
import { readEvents } from "./upstream.ts";
import {
  errorIn,
  excerptOf,
  type Failure,
  failureOf,
  reportedFailure,
  UpstreamError,
} from "./upstream_failure.ts";
import { ChunkTimes, counted } from "./upstream_counts.ts";
import { connect } from "./upstream_request.ts";
import { traceparentOf } from "./traceparent.ts";
import { totals } from "../totals.ts";
import { isObject } from "../values.ts";

/** The longest `Retry-After`, in ms, that a retry waits for; the client is told a longer one at once. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * A source that asks an upstream in its own API and streams its response.
 *
 * @returns A function from the context to a queue, which is a source and async iterable.
 * @throws {TypeError | RangeError} If an option is not what its type or its bounds say.
 */
export function modelSource<Input>(
  options: ModelOptions<Input>,
  dialect: Dialect,
): (context: SourceContext<Input>) => AsyncQueue<Item> {
  const { limits, upstreams } = checkOptions(options, dialect);
  return (context) => {
    const queue = new AsyncQueue<Item>();
    const messages = options.messages?.(context) ?? messagesOf(context.input);
    const requests = upstreams.map((upstream) => ({
      upstream,
      body: () => bodyOf(upstream.options, dialect, context, messages),
    }));
    const { clock = systemClock } = options;
    const run: Run = {
      queue,
      limits,
      clock,
      dialect,
      traceparent: traceparentOf(context.request),
      report: (error) => context.report(error),
    };
    fill(run, requests).then(
      (summary) => queue.close(summary),
      (error) => queue.fail(error),
    );
    return queue;
  };
}

/** What one run of the source needs, whichever upstream it asks. */
interface Run {
  readonly queue: AsyncQueue<Item>;
  readonly limits: ModelLimits;
  readonly clock: Clock;
  readonly dialect: Dialect;
  /** The trace that our client's request belongs to, if any. */
  readonly traceparent: string | undefined;
  /** Tells the operator of an error that the client does not see. */
  readonly report: (error: unknown) => void;
}

/** A request to one upstream. Its body is made when it is asked. */
interface UpstreamRequest {
  readonly upstream: CheckedUpstream<never>;
  readonly body: () => Blob;
}

/**
 * Fills the queue to the end, from the first upstream that sends an item. Whatever ends the queue
 * aborts the request.
 */
async function fill(run: Run, requests: readonly UpstreamRequest[]): Promise<Summary> {
  const { queue, limits, clock } = run;
  const endMs = clock.now() + limits.answerTimeoutMs;
  const fallbackMs = clock.now() + limits.fallbackTimeoutMs;
  const failures: Error[] = [];
  /** Reports those that have failed, once their errors are not told otherwise. */
  const reportFailures = (): void => failures.splice(0).forEach(run.report);
  for (const [i, request] of requests.entries()) {
    const isLast = i === requests.length - 1;
    if (i > 0 && !isLast && clock.now() >= fallbackMs) continue;
    if (i > 0) totals.upstreamFallbacks++;
    const deadline = new Deadline(queue.signal, clock);
    if (isLast || endMs < fallbackMs) deadline.endAt(endMs, "answerTimeoutMs");
    else deadline.endAt(fallbackMs, "fallbackTimeoutMs");
    const begin = (): void => {
      deadline.endAt(endMs, "answerTimeoutMs");
      reportFailures();
    };
    try {
      const result = await ask(run, request, deadline, begin);
      if (!("mayRetry" in result)) {
        reportFailures();
        return result;
      }
      const { name, options } = request.upstream;
      const { error, mayFallBack } = result;
      if (requests.length === 1) throw error;
      failures.push(new Error(`${name}, model ${options.model}, failed`, { cause: error }));
      const isOver = isLast || !mayFallBack || clock.now() >= endMs;
      if (isOver) throw lastError(error, failures.splice(0));
    } catch (error) {
      if (!queue.closed) reportFailures();
      throw error;
    } finally {
      deadline.stop();
    }
  }
  throw new Error("Unreachable: the last upstream is always asked");
}

/** The error of the last upstream that was asked, with those of all of them as its cause. */
function lastError(error: unknown, failures: readonly Error[]): StreamError {
  const { code, status, title, retryAfter } = publicError(error);
  const cause = new AggregateError(failures, failures.map(({ message }) => message).join("; "));
  return new StreamError(code, {
    status,
    title,
    cause,
    ...retryAfter === undefined ? {} : { retryAfter },
  });
}

/** Asks one upstream, as often as it may be asked. */
async function ask(
  run: Run,
  { upstream, body }: UpstreamRequest,
  deadline: Deadline,
  begin: () => void,
): Promise<Summary | Failure> {
  const bytes = body();
  for (let tries = 0;; tries++) {
    const result = await counted(attempt(run, upstream, bytes, deadline, begin), tries > 0);
    if (!("mayRetry" in result) || !result.mayRetry || tries >= run.limits.retries) return result;
    const backoffMs = Math.min(250 * 2 ** tries, 8000) * (0.5 + Math.random() / 2);
    const waitMs = result.waitMs || backoffMs;
    deadline.expect(Infinity, "");
    if (waitMs > MAX_RETRY_AFTER_MS || waitMs >= deadline.leftMs) return result;
    await deadline.pause(waitMs);
  }
}

/**
 * Sends one request and passes on what comes back.
 *
 * @param begin Called with the first item: nothing is asked again after it.
 * @returns The summary, or what failed before the first item.
 * @throws What failed after it.
 */
async function attempt(
  { queue, limits, dialect, traceparent }: Run,
  upstream: CheckedUpstream<never>,
  body: Blob,
  deadline: Deadline,
  begin: () => void,
): Promise<Summary | Failure> {
  const { maxLineBytes, maxEventBytes } = limits;
  let hasBegun = false;
  const chunks = new ChunkTimes(deadline.expect(limits.headTimeoutMs, "headTimeoutMs"));
  let failure: Failure | undefined;
  const takeFirst = (event: ServerSentEvent) => {
    failure = failureIn(event, upstream);
    return failure === undefined ? answer.take(event) : "last";
  };
  const answer = new AnswerFiller(queue, dialect.read(), upstream.mask);
  try {
    const response = await connect(upstream, body, deadline, traceparent);
    if ("mayRetry" in response) return response;
    deadline.expect(limits.firstTokenTimeoutMs, "firstTokenTimeoutMs");
    const isDone = await readEvents(
      response,
      deadline.signal,
      (event) => {
        const sent = hasBegun ? answer.take(event) : takeFirst(event);
        // A role, a comment or an empty event is no token.
        if (typeof sent !== "object") return sent;
        chunks.item();
        if (!hasBegun) {
          hasBegun = true;
          begin();
          deadline.expect(limits.tokenTimeoutMs, "tokenTimeoutMs");
        }
        if (accepted(sent)) return sent;
        // While our own client is slow, the upstream is not late.
        deadline.hold();
        return sent.then((room) => {
          deadline.release();
          chunks.held();
          return room;
        });
      },
      { maxLineBytes, maxEventBytes, fatal: true },
      () => chunks.chunk(deadline.extend()),
    );
    if (failure !== undefined) return failure;
    if (!isDone) deadline.check();
    const { summary } = answer;
    if (summary === undefined) throw new StreamError("truncated");
    return summary;
  } catch (error) {
    if (hasBegun || queue.closed) throw error;
    return failureOf(error);
  } finally {
    chunks.end();
  }
}

/** The failure that an event before the first item is, as if the response had had its status. */
function failureIn(
  { event, data }: ServerSentEvent,
  { name, mask }: CheckedUpstream<never>,
): Failure | undefined {
  const error = errorIn(data, event === "error");
  if (error === undefined) return undefined;
  const words = `${name} reported an error before its first token`;
  const cause = new UpstreamError(words, error.status, excerptOf(data, mask));
  return reportedFailure({ status: 200, error, code: "upstream_failed" }, cause);
}

/** Fills the queue with one response as its events arrive. */
class AnswerFiller {
  readonly #reader: AnswerReader;
  readonly #queue: AsyncQueue<Item>;
  readonly #mask: (text: string) => string;

  /**
   * Creates a filler.
   *
   * @param mask Removes keys from what the operator is told.
   */
  constructor(queue: AsyncQueue<Item>, reader: AnswerReader, mask: (text: string) => string) {
    this.#queue = queue;
    this.#reader = reader;
    this.#mask = mask;
  }

  /** How the response ended; `undefined` if it is not whole. */
  get summary(): Summary | undefined {
    return this.#reader.summary;
  }

  take(event: ServerSentEvent): Promise<boolean> | "last" | undefined {
    const read = this.#reader.read(event);
    if (typeof read === "string") return this.#queue.send(read);
    // Some upstreams repeat the key in what they say of a failure.
    if (read === FAILED) throw upstreamFailed(this.#mask(event.data));
    const sent = this.#send(read);
    if (!this.#reader.isOver) return sent;
    return sent?.then(() => false) ?? "last";
  }

  /** Sends the items of one event. Many of them wait for each other, as those of many events do. */
  #send(items: readonly Item[]): Promise<boolean> | undefined {
    let sent: Promise<boolean> | undefined;
    for (const [at, item] of items.entries()) {
      sent = this.#queue.send(item);
      if (!accepted(sent)) return this.#sendOn(sent, items.slice(at + 1));
    }
    return sent;
  }

  async #sendOn(sent: Promise<boolean>, items: readonly Item[]): Promise<boolean> {
    let hasRoom = await sent;
    for (const item of items) hasRoom &&= await this.#queue.send(item);
    return hasRoom;
  }
}

/** The conversation in the default input, or in a chat route's. */
function messagesOf(input: unknown): ChatMessage[] {
  if (isObject(input)) {
    const { messages, query } = input as { messages?: unknown; query?: unknown };
    if (Array.isArray(messages)) return messages as ChatMessage[];
    if (typeof query === "string") return [{ role: "user", content: query }];
  }
  throw new TypeError("Cannot ask the upstream: the input has neither messages nor a query");
}

/** The names of the limit on tokens, in each API. */
const LIMITS = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/** Fields of the input that are sent to the upstream, beside those that the server has fixed. */
function fieldsOf(input: unknown, names: readonly string[], fixed: object): Partial<ChatFields> {
  if (!isObject(input)) return {};
  const fields: Partial<ChatFields> = Object.fromEntries(
    Object.entries(input).filter(([name, value]) => names.includes(name) && value != null),
  );
  // An upstream takes one of the two, and a limit of the server's holds under either name.
  const limited = LIMITS.some((name) => name in fixed);
  if (limited || "max_completion_tokens" in fields) delete fields.max_tokens;
  if (limited) delete fields.max_completion_tokens;
  return fields;
}

function bodyOf<Input>(
  { body, fields, model }: ModelUpstream<Input>,
  dialect: Dialect,
  context: SourceContext<Input>,
  messages: ChatMessage[],
): Blob {
  const fixed = typeof body === "function" ? body(context) : body ?? {};
  const chosen = fieldsOf(context.input, fields ?? dialect.fields, fixed);
  const json = JSON.stringify({
    ...dialect.write({ fields: chosen, messages, fixed, model }),
    model,
    stream: true,
  });
  return new Blob([json]);
}
