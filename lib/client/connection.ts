/** What the application reads a stream with. */
import type { Clock } from "../pipeline/scheduler.ts";
import type { ServerSentEvent } from "../sse/event.ts";
import { type ConnectError, isText } from "./error.ts";
import { type ClientFormat, type ClientItems, type FormatReader, READERS } from "./formats.ts";
import { type Given, Link, type Wakes } from "./link.ts";
import { isGone } from "./response.ts";
import { checkInit, type ConnectInit, type ConnectionState } from "./options.ts";

/**
 * A stream that is being read: what `connect` returns. A loop over it gives every event as the stream
 * has it, its end included; leaving the loop closes the connection. A failure is thrown as a
 * `ConnectError`, after the events that came before it.
 */
export class Connection<F extends ClientFormat = "json">
  implements AsyncIterableIterator<ServerSentEvent, undefined> {
  readonly #link: Link;
  readonly #format: FormatReader;
  readonly #signal: AbortSignal | null | undefined;
  readonly #given: Given;
  #events: ServerSentEvent[] = [];
  #next = 0;
  /** What is under way to get more: a `next` that is called meanwhile waits for it. */
  #filling: Promise<void> | undefined;
  #isLeft = false;

  /** Opens a connection; use `connect`. */
  constructor(
    input: string | URL | Request,
    init: ConnectInit<F>,
    wakes: Wakes,
    clock: Clock,
  ) {
    const { format = "json", signal = Object(input).signal, lastEventId } = init;
    checkInit(init as ConnectInit<ClientFormat>);
    this.#format = READERS[format as ClientFormat];
    if (this.#format === undefined) throw new TypeError(`Cannot connect: format is ${format}`);
    this.#given = { events: 0, text: "", lastEventId: lastEventId ?? "" };
    this.#link = new Link(input, init, this.#format, this.#given, wakes, clock);
    this.#signal = signal;
    if (signal?.aborted) this.#onAbort();
    else {
      signal?.addEventListener("abort", this.#onAbort);
      this.#fill();
    }
  }

  /** The state now; `onState` is called with each new one. */
  get state(): ConnectionState {
    return this.#link.state;
  }

  /** The stream's id, once the server has named it: keep it, to join after a reload. */
  get streamId(): string | undefined {
    return this.#link.streamId;
  }

  /** The id of the last event that was given to the application; `""` before the first. */
  get lastEventId(): string {
    return this.#given.lastEventId;
  }

  /**
   * The next event.
   *
   * @throws {ConnectError} If the stream did not come to its end.
   */
  async next(): Promise<IteratorResult<ServerSentEvent, undefined>> {
    for (;;) {
      const value = this.#events[this.#next];
      if (value) {
        this.#next++;
        this.#given.events++;
        this.#given.lastEventId = value.lastEventId;
        return { done: false, value };
      }
      if (this.#isLeft) return { done: true, value };
      const { state, error } = this.#link;
      if (error) throw this.#link.withGiven(error);
      if (state.status === "done") return { done: true, value };
      await this.#fill();
    }
  }

  /** Closes the connection; a loop that is left calls it. The generation is left to the server. */
  // deno-lint-ignore require-await -- a promise, as the protocol of iterators has it.
  async return(): Promise<IteratorResult<ServerSentEvent, undefined>> {
    this.#isLeft = true;
    this.#events = [];
    this.#link.end("left");
    this.#unlisten();
    return { done: true, value: undefined };
  }

  /** The connection is its own iterator: two loops share its events. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * The items of the stream, without its end, as its format has them.
   *
   * @throws {ConnectError} If the stream did not come to its end.
   */
  async *items(): AsyncGenerator<ClientItems[F], undefined> {
    for await (const event of this) {
      if (this.#link.isEnd(event)) continue;
      let item;
      try {
        item = this.#format.item(event);
        this.#given.text += this.#token(item);
      } catch (cause) {
        throw this.#link.error = this.#link.errorOf("failed", "An event is malformed", {
          code: "malformed",
          cause,
        });
      }
      yield item as ClientItems[F];
    }
  }

  /**
   * The tokens of the stream.
   *
   * @throws {ConnectError} If the stream did not come to its end.
   */
  async *tokens(): AsyncGenerator<string, undefined> {
    for await (const item of this.items()) {
      const token = this.#token(item);
      if (token) yield token;
    }
  }

  /**
   * The entire text that was read as items, when the stream has come to its end.
   *
   * @throws {ConnectError} If it did not; `error.text` is what was read.
   */
  async text(): Promise<string> {
    for await (const _ of this.items());
    if (this.#isLeft) throw this.#link.error ?? this.#leftError();
    return this.#given.text;
  }

  /** Closes the connection, and leaves the generation to the server. Who reads gets `aborted`. */
  leave(): void {
    this.#abort(undefined);
  }

  /** Tries again at once, if it waits: for a button. */
  reconnect(): void {
    this.#link.reconnect();
  }

  /**
   * Ends the generation for every client, by DELETE; reading goes on, to the end that the server then
   * sends. Nobody can stop a stream without a name: its connection is closed.
   *
   * @returns Whether the server knows the stream.
   * @throws {ConnectError} If the server could not be asked, or refused.
   */
  async stop(): Promise<boolean> {
    const link = this.#link;
    await link.named;
    const { streamId } = link;
    if (streamId === undefined) {
      this.leave();
      return false;
    }
    const response = await link.requests.stop(streamId).catch((cause) => {
      throw link.errorOf("gave-up", "Cannot stop", { code: "unreachable", cause });
    });
    const { ok, status } = response;
    if (ok || isGone(response)) return ok;
    throw link.errorOf("refused", `The server returned ${status}`, {
      code: `http_${status}`,
      status,
    });
  }

  #token(item: unknown): string {
    const token = this.#format.token(item as never);
    return isText(token) ? token : "";
  }

  #fill(): Promise<void> {
    return this.#filling ??= this.#fillAnew();
  }

  async #fillAnew(): Promise<void> {
    this.#events = [];
    this.#next = 0;
    await this.#link.fill(this.#events);
    this.#filling = undefined;
    if (this.state.status === "done") this.#unlisten();
  }

  readonly #onAbort = (): void => this.#abort(this.#signal!.reason);

  #abort(cause: unknown): void {
    const link = this.#link;
    const error = this.#leftError(cause);
    link.fail(error);
    // The stream had come to its end, but not all of it was given.
    if (this.#next < this.#events.length) link.error ??= error;
    this.#events = [];
    this.#unlisten();
  }

  #leftError(cause?: unknown): ConnectError {
    return this.#link.errorOf("aborted", "The connection was left", { code: "left", cause });
  }

  #unlisten(): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}
