/**
 * A `Response` of bytes that makes a real one only for those who ask for its body. Separate from the
 * exchange because it has to be what every reader of a `Response` expects.
 */

import type { ResponseBody } from "../http/response.ts";

/** A `Response` that is none inside: to make one takes longer than to answer for it. */
const Unmade = function () {} as unknown as new () => Response;
(Unmade as { prototype: Response }).prototype = Response.prototype;

/** A response whose bytes the exchange sends as they are. */
export class BytesResponse extends Unmade {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  #head: Record<string, string> | Headers;
  /** Made when the body is asked for. */
  #made: Response | undefined;

  /** Makes a response of the bytes, which nobody else may change. */
  constructor(bytes: Uint8Array<ArrayBuffer>, head: Record<string, string> | Headers) {
    super();
    this.#bytes = bytes;
    this.#head = head;
  }

  /** The bytes; absent if somebody has asked for the body. */
  get bytesToSend(): Uint8Array | undefined {
    return this.#made === undefined ? this.#bytes : undefined;
  }

  /** The headers as they were given; absent if somebody has asked for them, and may have changed them. */
  get givenHead(): Record<string, string> | undefined {
    return this.#head instanceof Headers ? undefined : this.#head;
  }

  override get status(): number {
    return 200;
  }

  override get ok(): boolean {
    return true;
  }

  override get statusText(): string {
    return "";
  }

  override get type(): ResponseType {
    return "default";
  }

  override get url(): string {
    return "";
  }

  override get redirected(): boolean {
    return false;
  }

  override get headers(): Headers {
    if (!(this.#head instanceof Headers)) this.#head = new Headers(this.#head);
    return this.#head;
  }

  get #real(): Response {
    return this.#made ??= new Response(this.#bytes, { headers: this.headers });
  }

  override get body(): ReadableStream<Uint8Array<ArrayBuffer>> | null {
    return this.#real.body;
  }

  override get bodyUsed(): boolean {
    return this.#made?.bodyUsed ?? false;
  }

  override arrayBuffer(): Promise<ArrayBuffer> {
    return this.#real.arrayBuffer();
  }

  override blob(): Promise<Blob> {
    return this.#real.blob();
  }

  override bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#real.bytes();
  }

  override clone(): Response {
    return this.#real.clone();
  }

  override formData(): Promise<FormData> {
    return this.#real.formData();
  }

  override json(): Promise<unknown> {
    return this.#real.json();
  }

  override text(): Promise<string> {
    return this.#real.text();
  }
}

/** What makes the response to a stream: of bytes, where all of it is there. */
export class StreamResponse extends Response {
  /** Makes a response whose bytes, if it has them, are copied. */
  constructor(body: ResponseBody, init: { headers: Record<string, string> | Headers }) {
    if (body instanceof Uint8Array) {
      return new BytesResponse(body as Uint8Array<ArrayBuffer>, init.headers);
    }
    super(body, init);
  }
}
