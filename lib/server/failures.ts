/**
 * What is wrong outside of the server, in one sentence that says what to do: an address, a Redis, a
 * file. Separate from the program so that each sentence can be tested without the failure itself.
 */
import { StreamError } from "../error.ts";
import { replayError } from "../replay/codes.ts";

/** How long a Redis that is silent is asked for a connection, in ms. */
const PROBE_MS = 2000;

/** What an error says of itself on any runtime: its code, its name and its message. */
function wordsOf(error: unknown): string {
  const { code, name, message } = error as { code?: unknown; name?: unknown; message?: unknown };
  return [code, name, message].filter((word) => typeof word === "string").join(" ");
}

/** The sentence of the first pattern that is in `words`. */
function sentenceFor(
  words: string,
  sentences: readonly (readonly [RegExp, string])[],
): string | undefined {
  return sentences.find(([pattern]) => pattern.test(words))?.[1];
}

/** Why an address cannot be listened on, and what to do. */
export function listenReason(error: unknown, hostname: string): string {
  const words = wordsOf(error);
  const known = sentenceFor(words, [
    [/EADDRINUSE/, "the port is taken; set another with PORT or --port, 0 is any free one"],
    [
      /EACCES|PermissionDenied/,
      "this user may not listen on it; set a port of 1024 or more with PORT or --port",
    ],
    [
      /EADDRNOTAVAIL|ENOTFOUND|EAI_|lookup address/,
      "no address of this machine; set HOST to one, as 127.0.0.1 or 0.0.0.0",
    ],
  ]);
  if (known !== undefined) return known;
  // Bun has no code of its own for a name that does not resolve.
  const isName = !/^[\d.]+$|:/.test(hostname) && hostname !== "localhost";
  return isName ? "set HOST to a name or address of this machine" : (error as Error).message;
}

/** Why the file of `OPENAI_FALLBACK` cannot be read, and what to do. */
export function fileReason(error: unknown, path: string): string {
  const file = JSON.stringify(path);
  return sentenceFor(wordsOf(error), [
    [/ENOENT/, `there is no file ${file}; a path starts where the server was started`],
    [/EISDIR/, `${file} is a folder; name the JSON file in it`],
    [/EACCES|EPERM|PermissionDenied/, `this user may not read ${file}; change its owner or mode`],
  ]) ?? `cannot read ${file} (${String((error as { code?: unknown }).code)})`;
}

/**
 * What is logged of an error of the shared log: one sentence if the Redis or its URL is the reason, or
 * the error itself if it is a bug.
 *
 * @param refuses Why a connection fails, as an error; asked where Redis did not respond.
 */
export async function redisFailure(
  error: unknown,
  url: string,
  refuses: (hostname: string, port: number) => Promise<unknown> = connectionError,
): Promise<unknown> {
  const isBug = error instanceof TypeError || error instanceof RangeError ||
    error instanceof ReferenceError || error instanceof StreamError;
  if (isBug || !(error instanceof Error)) return error;
  const { hostname, port, password } = new URL(url.replace(/^[^:]+/, "http"));
  const place = `${hostname}:${port || 6379}`;
  const isTls = /^(redis|valkey)s/.test(url);
  let words = wordsOf(error);
  const isSilent =
    /did not respond|ECONNREFUSED|Connection (closed|has failed|timeout)|ERR_REDIS_CONN/i
      .test(words);
  if (isSilent) {
    const error = await refuses(hostname.replace(/^\[|\]$/g, ""), Number(port || 6379));
    words = wordsOf(error ?? { code: "SILENT" });
  }
  const reason = sentenceFor(words, [
    [/ECONNREFUSED/, `Nothing listens on ${place}; start the Redis, or correct REDIS_URL`],
    [/ENOTFOUND|EAI_|lookup|getaddrinfo/, `No host has the name ${hostname}; correct REDIS_URL`],
    [
      /TIMEDOUT|UNREACH/,
      `${place} cannot be reached; correct REDIS_URL, or look at the network between`,
    ],
    [
      /SILENT|Socket closed|Failed to read|Invalid response|INVALID_RESPONSE|Protocol error/i,
      `${place} accepts connections but does not speak Redis ${
        isTls
          ? "over TLS; if it has none, set redis:// in"
          : "without TLS; if it has TLS, set rediss:// in"
      } REDIS_URL`,
    ],
    [
      /NOAUTH|WRONGPASS|invalid password|AUTH failed|AUTHENTICATION/i,
      `The Redis at ${place} ${
        password === "" ? "wants a password" : "rejects the user or the password"
      }; set it in REDIS_URL, as redis://user:password@host:6379`,
    ],
    [/NOPERM/, `The Redis at ${place} does not let this user do that: ${error.message}`],
  ]);
  return replayError("log_unavailable", { cause: new Error(reason ?? error.message) });
}

/** The error of a new connection to an address; `undefined` if there is none. */
async function connectionError(hostname: string, port: number): Promise<unknown> {
  const { connect } = await import("node:net");
  return new Promise((resolve) => {
    const socket = connect(port, hostname);
    const end = (error?: unknown) => {
      socket.destroy();
      resolve(error);
    };
    socket.once("connect", () => end());
    socket.once("error", end);
    socket.setTimeout(PROBE_MS, () => end(new Error("ETIMEDOUT")));
  });
}
