/** One request of "Try it", and the buttons that send it, cut it off, resume it and stop it. */
import { announce } from "../dom.ts";
import { type PageEvent, piecesOf, readEvents } from "../reader.ts";
import { button, h } from "./elements.ts";
import { type Phase, Results } from "./results.ts";
import { at, keyed } from "./service.ts";
import { parseJson } from "../../../../values.ts";

/** The stream that was begun last, on whichever operation, is what can be joined and stopped. */
export let latestId = "";

function begun(streamId: string): void {
  latestId = streamId;
  for (const input of document.querySelectorAll<HTMLInputElement>(".stream")) {
    input.value = streamId;
  }
}

const messageOf = (error: unknown) => error instanceof Error ? error.message : String(error);

/** What is sent. */
export interface Sent {
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
}

/** The text in an event. */
function tokenOf({ type: event, data }: Pick<PageEvent, "type" | "data">): string {
  if (event === "done" || event === "failed") return "";
  const chunk = parseJson(data) as Chunk | null | undefined;
  // The `text` format sends it as it is.
  if (typeof chunk !== "object" || chunk === null) return data === "[DONE]" ? "" : data;
  const { choices, token, delta, type } = chunk;
  const part = typeof delta !== "string" ? delta?.text : type === "text-delta" ? delta : "";
  const text = token ?? choices?.[0]?.delta?.content ?? part;
  return typeof text === "string" ? text : "";
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
    this.#go({ method: "GET", url: at(`/streaming/${this.#streamId}`), headers });
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

  async #go({ method, url, headers, body }: Sent): Promise<void> {
    const { results } = this;
    const { signal } = this.#connection = new AbortController();
    results.sent(method === "GET");
    this.#enter("sending");
    announce("Sent.");
    try {
      const init = { method, headers, body: body ?? null, signal };
      const response = await fetch(url, { ...init, cache: "no-store" });
      results.status = `${response.status} ${response.statusText}`;
      this.#streamId = response.headers.get("x-stream-id") ?? this.#streamId;
      if (this.#streamId) begun(this.#streamId);
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
    await readEvents(response, (event) => {
      if (event.type === "failed" || event.type === "error") this.results.fail(event.data);
      if (event.id) this.#lastEventId = event.id;
      if (["done", "failed", "message_stop"].includes(event.type)) ended = true;
      if (event.data === "[DONE]") ended = true;
      this.results.token(tokenOf(event));
    }, (piece) => this.results.bytes(piece));
    if (!ended && this.#streamId) throw new Error("the connection is lost");
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
      for (const data of lines) this.results.token(tokenOf({ type: "", data }));
    }
  }
}
