/**
 * Sends a request to an upstream and waits for its event stream, on each runtime in its own way.
 * Separate from reading it because whatever goes wrong until then may be asked again.
 */
import { StreamError } from "../error.ts";
import type { Deadline } from "./deadline.ts";
import { discard, mediaTypeOf } from "./upstream.ts";
import {
  errorIn,
  excerptOf,
  type Failure,
  failureOf,
  reportedFailure,
  UpstreamError,
} from "./upstream_failure.ts";

/** Where a request goes. */
export interface UpstreamAddress {
  readonly url: string;
  /** How the operator is told of it: without a query, which may hold a key. */
  readonly name: string;
  readonly headers: Headers;
  /** Removes the keys from a text. */
  readonly mask: (text: string) => string;
}

/** How much of a body that is no event stream is read, in bytes. */
const MAX_BODY_BYTES = 64 * 1024;
/** How long such a body is waited for, in ms. */
const BODY_WAIT_MS = 500;

/** The default of all requests on Node, in the version that every other one understands. */
const NODE_DISPATCHER = Symbol.for("undici.globalDispatcher.1");

interface Dispatcher {
  dispatch(options: object, handler: unknown): boolean;
}

/** As much of Deno as is used here. */
interface DenoFetch {
  createHttpClient?(options: { poolIdleTimeout: number }): object;
}

/**
 * How long Deno keeps a connection that is idle, in ms. Its default of 90 s is more than servers have:
 * node:http and uvicorn, which vLLM runs on, close an idle connection after 5 s, and a request that
 * crosses that close fails. 4 s is Node's default.
 */
const IDLE_MS = 4000;
let denoClient: object | undefined;

/**
 * The options of `fetch` for each runtime. They lift its own limits: Bun 1.3 gives up after 5 minutes
 * without a byte, Node after as long without the headers or between two chunks. A model may think
 * longer.
 */
function ofRuntime(): object {
  const { Deno: deno, [NODE_DISPATCHER]: standard } = globalThis as {
    Deno?: DenoFetch;
    [NODE_DISPATCHER]?: Dispatcher;
  };
  denoClient ??= deno?.createHttpClient?.({ poolIdleTimeout: IDLE_MS });
  if (denoClient !== undefined) return { client: denoClient };
  if (standard === undefined) return { timeout: false };
  return {
    dispatcher: {
      // The default one is asked, because the program may have set one of its own, for a proxy.
      dispatch: (options: object, handler: unknown) =>
        standard.dispatch({ ...options, headersTimeout: 0, bodyTimeout: 0 }, handler),
    },
  };
}

/**
 * Sends the request and waits for the headers of its response.
 *
 * @param body Sent with its length on every runtime. It has to be a Blob: Deno 2.9 sends bytes again
 * by itself when the connection breaks before the headers, and the model is paid twice.
 * @param traceparent The trace of our client's request, valid; a header of the upstream's own stays.
 * @returns A response that is an event stream, or else what failed.
 * @throws The reason if the request was aborted, or a limit has passed.
 */
export async function connect(
  address: UpstreamAddress,
  body: Blob,
  deadline: Deadline,
  traceparent?: string,
): Promise<Response | Failure> {
  const { url, name, mask } = address;
  let { headers } = address;
  if (traceparent !== undefined && !headers.has("traceparent")) {
    headers = new Headers(headers);
    headers.set("traceparent", traceparent);
  }
  let response: Response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers,
      redirect: "manual",
      // An option of Bun's: it would unpack a compression bomb for 100 ms although the response is
      // rejected.
      decompress: false,
      ...ofRuntime(),
      body,
      signal: deadline.signal,
    } as RequestInit);
  } catch (error) {
    deadline.check();
    const cause = new UpstreamError(`${name} cannot be reached: ${mask(reasonOf(error))}`);
    return { ...failureOf(new StreamError("bad_upstream", { cause })), mayRetry: true };
  }
  const type = mediaTypeOf(response);
  const isPacked = (response.headers.get("content-encoding") ?? "identity") !== "identity";
  // Without a type it is taken for what was asked for: some servers send none.
  const isStream = response.status === 200 && (type ?? "text/event-stream") === "text/event-stream";
  if (isStream && !isPacked && response.body !== null) return response;
  const text = isPacked ? "" : await beginningOf(response, deadline);
  if (isPacked) discard(response);
  const { status } = response;
  const error = errorIn(text, status >= 400);
  const words = mask(
    wordsFor(response, isPacked, error?.names ?? [], KEYS.some((key) => headers.has(key))),
  );
  return reportedFailure(
    { status, headers: response.headers, error, code: "bad_upstream" },
    new UpstreamError(`${name} ${words}`, status, excerptOf(text, mask)),
  );
}

/** The headers that may hold an API key. */
const KEYS = ["authorization", "api-key", "x-api-key"];

/** What the runtimes' errors mean, and what the operator may look at. */
const MEANINGS: readonly (readonly [RegExp, string])[] = [
  [/refus/i, "nothing listens there; is it started, and is the port right?"],
  [/ENOTFOUND|EAI_|dns error|lookup/i, "no host has this name; is the base URL right?"],
  [
    /EPROTO|InvalidContentType|wrong version|packet length/i,
    "it does not talk TLS; is it http:// in the base URL?",
  ],
  [
    /CERT|SELF_SIGNED|UnknownIssuer|UNABLE_TO_VERIFY/i,
    "its certificate is not trusted; NODE_EXTRA_CA_CERTS, or DENO_CERT on Deno, names the file of its authority",
  ],
];

/** Why no response came: the error that the runtime has found first, without its stack. */
function reasonOf(error: unknown): string {
  let reason = error as { code?: unknown; message?: unknown; cause?: unknown };
  while (reason.cause instanceof Error) reason = reason.cause;
  const said = String(reason.code ?? reason.message);
  const meaning = MEANINGS.find(([pattern]) => pattern.test(`${said} ${reason.message}`))?.[1];
  return meaning === undefined ? said : `${said}: ${meaning}`;
}

function wordsFor(
  { status, headers }: Response,
  isPacked: boolean,
  names: readonly string[],
  hasKey: boolean,
): string {
  const type = headers.get("content-type") ?? "no content type";
  const location = headers.get("location") ?? "";
  if (isPacked) return `responded with ${status} and compressed, which was not asked for`;
  if (status === 401 || status === 403) {
    return hasKey
      ? `refused the API key (${status})`
      : `wants an API key, and none is set (${status})`;
  }
  if (names.includes("model_not_found")) return `knows no such model (${status})`;
  if (names.includes("insufficient_quota")) return `has no quota left for this key (${status})`;
  if (status === 404) return `knows no such path or model (404): is the base URL right?`;
  if (status >= 300 && status < 400) {
    const [target] = location.split("?");
    return `redirects to ${target} (${status}), which is not followed: is the base URL right?`;
  }
  if (status < 300) return `responded with ${status} and ${type} in place of an event stream`;
  return status === 400 || status === 413 || status === 422
    ? `rejected the request (${status})`
    : `responded with ${status}`;
}

/** The beginning of a body, as far as it comes in time. */
async function beginningOf({ body }: Response, deadline: Deadline): Promise<string> {
  if (body === null) return "";
  const reader = body.getReader();
  // If it has failed already, there is nothing left to close.
  const close = () => void reader.cancel().catch(() => {});
  const forget = deadline.after(Math.min(BODY_WAIT_MS, deadline.leftMs), close);
  // The limit of the headers bounds this wait, and is not what has failed.
  deadline.expect(Infinity, "");
  // Copied: a piece of one byte may hold a buffer of 64 KiB.
  const bytes = new Uint8Array(MAX_BODY_BYTES);
  let size = 0;
  try {
    while (size < MAX_BODY_BYTES) {
      const { value, done } = await reader.read();
      if (done) break;
      const part = value.subarray(0, MAX_BODY_BYTES - size);
      bytes.set(part, size);
      size += part.length;
    }
  } catch {
    // A body that breaks off is told as far as it came.
  } finally {
    forget();
    close();
  }
  deadline.check();
  return new TextDecoder().decode(bytes.subarray(0, size));
}
