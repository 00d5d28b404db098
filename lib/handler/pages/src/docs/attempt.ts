/** One request of "Try it", and the buttons that send it, cut it off, resume it and stop it. */
import { announce } from "../dom.ts";
import { type PageEvent, piecesOf, readEvents } from "../reader.ts";
import { button, h } from "./elements.ts";
import { remember, rememberSent } from "./latest.ts";
import { type Phase, Results } from "./results.ts";
import { at, keyed } from "./service.ts";
import { parseJson } from "../../../../values.ts";

const messageOf = (error: unknown) => error instanceof Error ? error.message : String(error);

/** What is sent. */
export interface Sent {
  /** The route's, with names in braces. */
  readonly path: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body?: string | undefined;
}

/** As much of an event as is read, whichever API's it is. */
interface Chunk {
  choices?: { delta?: { content?: unknown } | null }[] | null;
  token?: unknown;
  type?: unknown;
  delta?: { text?: unknown } | string | null;
  error?: unknown;
  /** Only this connection has failed. */
  resume?: unknown;
}

/** What an event means, whichever API's it is. */
interface Meaning {
  /** The text in it. */
  readonly text?: string;
  /** Nothing comes after it. */
  readonly isEnd?: boolean;
  readonly isFailure?: boolean;
}

/** The events whose `delta` is text of the answer, by their types. */
const TEXT = /^(text-delta|response\.output_text\.delta|TEXT_MESSAGE_CONTENT)$/;
const END =
  /^(done|failed|message_stop|response\.(completed|incomplete|failed)|RUN_FINISHED|RUN_ERROR)$/;
const FAILURE = /^(failed|error|RUN_ERROR)$/;

function meaningOf({ type: event, data }: Pick<PageEvent, "type" | "data">): Meaning {
  if (data === "[DONE]") return { isEnd: true };
  const chunk = parseJson(data) as Chunk | null | undefined;
  const isObject = typeof chunk === "object" && chunk !== null;
  const name = isObject && typeof chunk.type === "string" ? chunk.type : "";
  const isEnd = END.test(event) || END.test(name);
  if (FAILURE.test(event) || FAILURE.test(name)) {
    return { isEnd: !(isObject && chunk.resume), isFailure: true };
  }
  if (event === "done") return { isEnd };
  // The `text` format sends it as it is.
  if (!isObject) return { text: data };
  const { choices, token, delta, error } = chunk;
  const part = typeof delta !== "string" ? delta?.text : TEXT.test(name) ? delta : "";
  const text = token ?? choices?.[0]?.delta?.content ?? part;
  return { ...typeof text === "string" ? { text } : {}, isEnd, isFailure: Boolean(error) };
}

/** Call `begin` for each new request; what came of the one before is then gone. */
export class Attempt {
  readonly send: HTMLButtonElement = h("button", { class: "main" }, "Send");
  readonly stop: HTMLButtonElement = button("Stop", () => this.#requestStop());
  readonly cut: HTMLButtonElement = button("Cut the network", () => this.#connection?.abort());
  readonly resume: HTMLButtonElement = button("Resume", () => this.#resume());
  readonly results: Results;
  readonly #streaming: boolean;
  #connection: AbortController | undefined;
  #streamId = "";
  #lastEventId = "";

  constructor(streaming: boolean) {
    this.#streaming = streaming;
    this.results = new Results(streaming);
    this.#enter("idle");
  }

  begin(sent: Sent): void {
    this.#streamId = this.#lastEventId = "";
    this.results.clear();
    this.#go(sent);
  }

  #resume(): void {
    const last: Record<string, string> = this.#lastEventId
      ? { "Last-Event-ID": this.#lastEventId }
      : {};
    const headers = keyed({ Accept: "text/event-stream", ...last });
    const path = "/streaming/{id}";
    this.#go({ path, method: "GET", url: at(`/streaming/${this.#streamId}`), headers });
  }

  #requestStop(): void {
    fetch(at(`/streaming/${this.#streamId}`), { method: "DELETE", headers: keyed({}) })
      .then(({ status }) => announce(`Stop: ${status}`), (error) => announce(messageOf(error)));
  }

  #enter(phase: Phase): void {
    const open = phase === "sending" || phase === "streaming";
    this.send.disabled = open;
    this.stop.disabled = !this.#streamId || phase === "ended";
    this.cut.disabled = !open;
    this.resume.disabled = !this.#streamId || phase !== "cut";
    this.results.enter(phase);
  }

  async #go(sent: Sent): Promise<void> {
    const { method, url, headers, body } = sent;
    const { results } = this;
    rememberSent(sent);
    const { signal } = this.#connection = new AbortController();
    results.sent(method === "GET");
    this.#enter("sending");
    announce("Sent.");
    try {
      const init = { method, headers, body: body ?? null, signal };
      const response = await fetch(url, { ...init, cache: "no-store" });
      results.status = `${response.status} ${response.statusText}`;
      this.#streamId = response.headers.get("x-stream-id") ?? this.#streamId;
      if (this.#streamId) remember("stream", this.#streamId);
      if (this.#streamId && sent.path === "/v1/responses") {
        remember("response", `resp_${this.#streamId}`);
      }
      await this.#read(response);
      this.#enter("ended");
      announce(`Ended: ${results.status}`);
    } catch (error) {
      results.bytes(`\n--- ${signal.aborted ? "cut off" : messageOf(error)} ---\n`);
      this.#enter("cut");
      announce(signal.aborted ? "Cut off." : "The connection has failed.");
    }
  }

  async #read(response: Response): Promise<void> {
    const type = response.headers.get("content-type") ?? "";
    const streams = /event-stream|ndjson|^text\/plain/.test(type);
    if (!response.ok || !streams || !this.#streaming) {
      const text = await response.text();
      if (!response.ok) this.results.fail(text);
      const isJson = type.includes("json");
      return this.results.bytes(isJson ? JSON.stringify(JSON.parse(text), undefined, 2) : text);
    }
    this.#enter("streaming");
    if (type.startsWith("text/event-stream")) await this.#readEvents(response);
    else await this.#readText(response, type.startsWith("text/plain"));
  }

  async #readEvents(response: Response): Promise<void> {
    let ended = false;
    await readEvents(
      response,
      (event) => {
        if (event.id) this.#lastEventId = event.id;
        if (this.#take(event).isEnd) ended = true;
      },
      (piece) => this.results.bytes(piece),
      this.#connection?.signal,
    );
    if (!ended && this.#streamId) throw new Error("the connection is lost");
  }

  #take(event: Pick<PageEvent, "type" | "data">): Meaning {
    const meaning = meaningOf(event);
    if (meaning.isFailure) this.results.fail(event.data);
    this.results.token(meaning.text ?? "");
    return meaning;
  }

  async #readText(response: Response, isPlain: boolean): Promise<void> {
    let rest = "";
    for await (const piece of piecesOf(response)) {
      this.results.bytes(piece);
      if (isPlain) {
        this.results.token(piece);
        continue;
      }
      const lines = (rest + piece).split("\n");
      rest = lines.pop()!;
      for (const data of lines) this.#take({ type: "", data });
    }
  }
}
