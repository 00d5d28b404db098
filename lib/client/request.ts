/**
 * The requests of a connection: the first one, and those that go on with a stream and so must not
 * begin another. Separate from the link because they depend on what is asked alone.
 */
import type { ClientFormat } from "./formats.ts";
import type { ConnectInit, FetchInit } from "./options.ts";

/** Makes requests, each with headers of its own. */
export class Requests {
  readonly #input: string | URL | Request;
  readonly #init: ConnectInit<ClientFormat>;
  readonly #url: string;
  readonly method: string;
  /** Whether a stream is read at its own address: the first request cannot be sent again. */
  readonly #isByAddress: boolean;

  /** @throws {TypeError} If `fetch` would reject the address, or a body with this method. */
  constructor(input: string | URL | Request, init: ConnectInit<ClientFormat>) {
    this.#input = input;
    this.#init = init;
    this.#url = String(Object(input).url ?? input);
    this.method = (init.method ?? (Object(input).method as string | undefined) ?? "GET")
      .toUpperCase();
    // A `fetch` of one's own may take what the runtime's does not, as a path.
    if (!init.fetch) new Request(this.#url);
    if (init.body != null && this.method === "GET") {
      throw new TypeError("Cannot connect: GET with a body");
    }
    this.#isByAddress = !!(init.streamId || init.streamUrl || Object(init.body).getReader);
  }

  /**
   * Asks for a stream, or for its rest.
   *
   * @returns The response, and whether the request could not have begun a generation twice.
   */
  async open(
    headers: Headers,
    streamId: string | undefined,
    lastEventId: string,
    signal: AbortSignal,
  ): Promise<{ response: Response; isSafe: boolean }> {
    const { body, format, runId } = this.#init;
    const isAddressed = streamId !== undefined && this.#isByAddress;
    const position = lastEventId || (streamId === undefined || isAddressed ? "" : `${streamId}.0`);
    if (!headers.has("accept")) {
      headers.set("accept", format === "ndjson" ? "application/x-ndjson" : "text/event-stream");
    }
    if (position) {
      // As the standard has it: UTF-8, which a header carries as one character a byte.
      headers.set("last-event-id", String.fromCharCode(...new TextEncoder().encode(position)));
    } else if (runId !== undefined) headers.set("x-run-id", runId);
    const method = isAddressed ? "GET" : this.method;
    let input: string | Request = isAddressed ? this.addressOf(streamId) : this.#url;
    // The tail is where a client begins, and not where it goes on.
    if (position) input = input.replace(/([?&])tail=\d+&?/, "$1");
    if (!isAddressed && Object(this.#input).body) input = this.#input as Request;
    const response = await this.#fetch(input, {
      method,
      headers,
      signal,
      body: isAddressed ? undefined : body,
    } as FetchInit);
    // A `fetch` that ignores its signal.
    if (signal.aborted) discard(response);
    return { response, isSafe: method === "GET" || !!position || runId !== undefined };
  }

  /** Asks the server to end a generation. */
  async stop(streamId: string): Promise<Response> {
    const response = await this.#fetch(this.addressOf(streamId), {
      method: "DELETE",
      headers: await this.headers(),
    });
    discard(response);
    return response;
  }

  /** The headers that the application wants now. */
  async headers(): Promise<Headers> {
    const { headers = Object(this.#input).headers } = this.#init;
    return new Headers(typeof headers === "function" ? await headers() : headers);
  }

  /** The address of a stream. */
  addressOf(streamId: string): string {
    if (this.#init.streamUrl) return String(this.#init.streamUrl(streamId));
    const [, path, rest] = /^([^?#]*)(.*)/s.exec(this.#url)!;
    // The connection may have been made to that address.
    if (path!.endsWith(`/${streamId}`)) return this.#url;
    return `${path!.replace(/\/+$/, "")}/${encodeURIComponent(streamId)}${rest}`;
  }

  /**
   * Fetches. A redirect must not make a GET of a POST, for that might generate without its body: so it
   * is only followed where it is seen to repeat the request (307, 308), which no browser shows.
   */
  async #fetch(input: string | Request, init: FetchInit): Promise<Response> {
    // `keepalive: false` is the default everywhere but in Bun, where it keeps a request from a pooled
    // connection that is broken: Bun 1.4 fails a POST for that, which may not be sent again.
    const all = {
      keepalive: false,
      duplex: "half",
      // The options have what is `fetch`'s as well, and it ignores the rest.
      ...this.#init,
      body: undefined,
      signal: undefined,
      ...init,
    };
    if (init.method === "GET" || this.#init.redirect) return this.#send(input, all);
    const response = await this.#send(input, { ...all, redirect: "manual" });
    if (response.status !== 307 && response.status !== 308) return response;
    discard(response);
    return this.#send(input, all);
  }

  #send(input: string | Request, init: object): Promise<Response> {
    const request = typeof input === "string" ? input : input.clone();
    // Called as a function of its own: a browser's `fetch` has to be.
    const call = this.#init.fetch ?? fetch;
    return call(request, init as FetchInit);
  }
}

/** Closes a response that nobody reads. */
export function discard({ body }: Response): void {
  // One that is broken already has nothing to add.
  body?.cancel?.().catch(() => {});
}
