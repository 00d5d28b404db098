/**
 * One stream over as many connections as it takes. Separate from what the application reads it with,
 * which asks for more events when it has given what there was.
 */
import type { Clock } from "../pipeline/scheduler.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { ClientDecoder } from "./decoder.ts";
import { ConnectError, type ConnectErrorInit, type ConnectErrorKind, saidIn } from "./error.ts";
import { type ClientFormat, type FormatReader, objectIn } from "./formats.ts";
import { HeartbeatWatch } from "./heartbeat.ts";
import type { Break, ConnectInit, ConnectionState } from "./options.ts";
import { discard, Requests } from "./request.ts";
import { faultOf, isGone, MESSAGES, nameIn, retryAfterMsOf, settingOf } from "./response.ts";

/** The longest timer of the runtimes, in ms: a longer one fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** How long the body of an error response may take, in ms. */
const MAX_PROBLEM_MS = 5000;
const COLON = 0x3a;

const ignore = (): void => {};

/** Calls `wake` when it is worth to try again; returns what ends that. */
export type Wakes = (wake: () => void) => () => void;

/** What the application was given so far; an error tells it. */
export type Given = Pick<ConnectError, "events" | "text" | "lastEventId">;

/**
 * The link to a stream.
 *
 * ```text
 * connecting -> open -> done            the end, or an error
 *      ^          |
 *      '- waiting <'                    the connection broke
 * ```
 */
export class Link {
  streamId: string | undefined;
  /** The one that the stream ended with. */
  error: ConnectError | undefined;
  state: ConnectionState = { status: "connecting", tries: 0 };
  readonly requests: Requests;
  /** Resolves when the stream's name is known, or never will be. */
  readonly named: Promise<void>;

  readonly #init: ConnectInit<ClientFormat>;
  readonly #format: FormatReader;
  readonly #given: Given;
  readonly #wakes: Wakes;
  readonly #clock: Clock;
  readonly #decoder: ClientDecoder;
  readonly #heartbeat = new HeartbeatWatch();
  #name!: () => void;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #abort: AbortController | undefined;
  /** Ends what is waited for. */
  #interrupt: ((reason?: Break) => void) | undefined;
  /** What ended this connection after events that are to be given first. */
  #broken: Break | undefined;
  /** Whether nothing new has come by this connection, so that it may repeat what came before. */
  #isBefore = false;
  #tries = 0;

  /** Makes a link; `given` is read, and not written, for what errors say. */
  constructor(
    input: string | URL | Request,
    init: ConnectInit<ClientFormat>,
    format: FormatReader,
    given: Given,
    wakes: Wakes,
    clock: Clock,
  ) {
    const { maxEventLength = 2 ** 20 } = init;
    this.#init = init;
    this.#format = format;
    this.#given = given;
    this.#wakes = wakes;
    this.#clock = clock;
    const { lastEventId } = given;
    this.#decoder = new ClientDecoder(init.format === "ndjson", maxEventLength, lastEventId);
    this.streamId = init.streamId || undefined;
    this.requests = new Requests(input, init);
    this.named = new Promise((resolve) => this.#name = resolve);
    if (this.streamId) this.#name();
  }

  /** Appends more events, or ends. Never rejects. */
  async fill(events: ServerSentEvent[]): Promise<void> {
    const reader = this.#reader;
    try {
      if (this.#broken) throw this.#broken;
      if (!reader) return await this.#open();
      const { done, value } = await this.#guard(reader.read());
      if (done) throw { reason: "cut" } satisfies Break;
      this.#read(value, events);
    } catch (error) {
      if (this.state.status === "done") return;
      const reason = reader ? "cut" : "unreachable";
      await this.#retry(Object(error).reason ? error as Break : { reason, error });
    }
  }

  /** Tries again at once, if it waits. */
  reconnect(): void {
    if (this.state.status === "waiting") this.#interrupt?.();
  }

  /** Ends with an error. */
  fail(error: ConnectError): void {
    if (this.state.status === "done") return;
    this.error = error;
    this.end(error.code);
  }

  #fail(kind: ConnectErrorKind, message: string, init: ConnectErrorInit): void {
    this.fail(this.errorOf(kind, message, init));
  }

  /** An error, with what the application was given. */
  errorOf(kind: ConnectErrorKind, message: string, init: ConnectErrorInit): ConnectError {
    return this.withGiven(new ConnectError(kind, message, init));
  }

  /** Brings up to date what an error says was given. */
  withGiven(error: ConnectError): ConnectError {
    return Object.assign(error, this.#given, { streamId: this.streamId });
  }

  /** Ends: the one way to the state `done`. */
  end(reason: string, event?: ServerSentEvent): void {
    if (this.state.status === "done") return;
    this.#set({ status: "done", reason, error: this.error, end: event });
    this.#close();
    this.#name();
    this.#interrupt?.();
  }

  async #open(): Promise<void> {
    this.#set({ status: "connecting" });
    const { requests } = this;
    // A connection that is left meanwhile sends no request.
    const { signal } = this.#abort = new AbortController();
    let headers;
    try {
      headers = await this.#guard(requests.headers(), 0);
    } catch (error) {
      throw { reason: "headers", error, isUnsent: true } satisfies Break;
    }
    const { response, isSafe } = await this.#guard(
      requests.open(headers, this.streamId, this.#decoder.lastEventId, signal),
    );
    if (signal.aborted) return discard(response);
    const { status } = response;
    if (status === 204) return this.end("nothing_new");
    if (status !== 200) return await this.#onStatus(response, isSafe);
    const mediaType = this.#init.format === "ndjson" ? "ndjson" : "text/event-stream";
    const fault = faultOf(response, mediaType, this.streamId);
    if (!fault) return this.#begin(response);
    discard(response);
    this.#fail(fault === "other_stream" ? "gone" : "refused", MESSAGES[fault]!, {
      code: fault,
      status,
    });
  }

  /** Begins to read a response. */
  #begin(response: Response): void {
    this.streamId = nameIn(response) ?? this.streamId;
    this.#name();
    this.#heartbeat.begin(this.#clock.now(), settingOf(response, "heartbeat"));
    this.#decoder.retry ??= settingOf(response, "retry");
    this.#decoder.reset();
    this.#isBefore = true;
    this.#reader = response.body!.getReader();
    this.#set({ status: "open" });
  }

  /** Tries again, or ends, after a status that is no stream's. */
  async #onStatus(response: Response, isSafe: boolean): Promise<void> {
    const { status } = response;
    const isUnsent = status === 429 || status === 503;
    if (isUnsent || isSafe && (status >= 500 || status === 408)) {
      discard(response);
      throw {
        reason: `http_${status}`,
        isUnsent,
        retryAfterMs: retryAfterMsOf(response),
        status,
      } satisfies Break;
    }
    const text = await this.#guard(response.text(), MAX_PROBLEM_MS).catch(() => "");
    const problem = objectIn(text);
    // 300 to 308; or 0, as a browser hides the status of a redirect that it does not follow.
    const isRedirect = status % 300 < 9;
    const { code = isRedirect ? "redirected" : `http_${status}`, text: said } = saidIn(problem);
    const message = said ?? MESSAGES[code] ?? `The server returned ${status}`;
    this.#fail(isGone(response) ? "gone" : "refused", message, { code, status, problem });
  }

  /** Reads a chunk. */
  #read(chunk: Uint8Array, events: ServerSentEvent[]): void {
    const decoded: ServerSentEvent[] = [];
    let broken;
    try {
      this.#decoder.feed(chunk, decoded);
    } catch (error) {
      broken = Object(error); // after what was decoded before it
    }
    this.#heartbeat.see(this.#clock.now(), decoded.length === 0 && chunk[0] === COLON);
    for (const event of decoded) {
      const failure = this.#format.failure(event);
      if (failure) return this.#onFailure(failure);
      const isEnd = this.isEnd(event);
      if (this.#isBefore && !isEnd && this.#isRepeat(event.lastEventId)) continue;
      this.#isBefore = false;
      this.#tries = 0;
      events.push(event);
      if (isEnd) return this.end("completed", event);
    }
    if (broken) {
      this.#fail("failed", broken.message, { code: broken.code ?? "malformed", cause: broken });
    }
  }

  isEnd(event: ServerSentEvent): boolean {
    return this.#format.isEnd(event) || !!this.#init.isEnd?.(event);
  }

  /** The stream says that it failed, or that only this client's connection did. */
  #onFailure(error: unknown): void {
    const { code = "failed", text = "The stream failed" } = saidIn({ error });
    const problem = Object(error);
    const { resume, status } = problem;
    if (resume === true) return void (this.#broken = { reason: code });
    this.#fail("failed", text, { code, status: Number(status) || undefined, problem });
  }

  /** Whether an event of a named stream is one that was given before, as all have been that were read. */
  #isRepeat(id: string): boolean {
    const { lastEventId } = this.#given;
    const prefix = `${this.streamId}.`;
    return id.startsWith(prefix) && lastEventId.startsWith(prefix) &&
      Number(id.slice(prefix.length)) <= Number(lastEventId.slice(prefix.length));
  }

  /** Waits before the next try, or gives up. */
  async #retry(broken: Break): Promise<void> {
    const { reason, error, status, retryAfterMs = 0, isUnsent } = broken;
    const hadResponse = !!this.#reader;
    this.#close();
    const { maxRetries = 8, retryMs = 1000, maxRetryMs = 30_000, restart, runId } = this.#init;
    const isNamed = !!this.streamId || runId !== undefined;
    const isAgain = isUnsent || restart || !!this.#decoder.lastEventId ||
      !this.#given.events && (isNamed || !hadResponse && this.requests.method === "GET");
    if (!isAgain || this.#tries >= maxRetries) {
      return this.#fail(
        "gave-up",
        isAgain
          ? `No event in ${this.#tries + 1} tries: ${reason}`
          : `Cannot resume (${reason}): another request might generate again`,
        { code: isAgain || !hadResponse ? reason : "not_resumable", status, cause: error },
      );
    }
    const firstMs = Math.max(this.#decoder.retry ?? retryMs, 1);
    const backOffMs = Math.max(firstMs, Math.min(firstMs * 2 ** this.#tries, maxRetryMs));
    const spreadMs = backOffMs * (1 + (this.#clock.random ?? Math.random)() / 2);
    const inMs = Math.min(Math.max(spreadMs, retryAfterMs), MAX_TIMER_MS);
    this.#tries++;
    this.#set({ status: "waiting", reason, inMs, error });
    // What the server asked for holds, whatever happens.
    const done = retryAfterMs > 0 ? ignore : this.#wakes(() => this.reconnect());
    // The time is over, somebody is in a hurry, or has left.
    await this.#guard(new Promise<never>(ignore), inMs).catch(ignore);
    done();
  }

  /** Waits for `promise`, but not for longer than a stall, and not after the connection was left. */
  async #guard<T>(
    promise: Promise<T>,
    ms: number = this.#init.stallMs ?? this.#heartbeat.stallMs,
  ): Promise<T> {
    let timer: unknown;
    const interrupted = new Promise<never>((_, reject) => {
      this.#interrupt = reject;
      const stall = () => reject({ reason: "stalled" });
      if (ms > 0) timer = this.#clock.setTimer(stall, Math.min(ms, MAX_TIMER_MS));
    });
    try {
      return await Promise.race([promise, interrupted]);
    } finally {
      this.#interrupt = undefined;
      this.#clock.clearTimer(timer);
    }
  }

  /** Closes what is open of this try. */
  #close(): void {
    // A reader that is broken has nothing to add.
    this.#reader?.cancel().catch(ignore);
    this.#reader = this.#broken = undefined;
    this.#abort?.abort();
  }

  #set(change: Omit<ConnectionState, "tries">): void {
    const state = this.state = { ...change, tries: this.#tries };
    const { onState } = this.#init;
    // An error of it is the application's, and shows as one that nobody has caught.
    if (onState) Promise.resolve(state).then(onState);
  }
}
