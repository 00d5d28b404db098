/**
 * Names that clients choose for their generations. Separate from the log because a name is taken before
 * there is a stream: from then on the same request waits for that stream and begins none.
 */
import type { StreamError } from "../error.ts";
import type { Run, RunClaim } from "../http/replay_log.ts";
import { createStreamId } from "../stream_id.ts";
import { sha256 } from "../values.ts";
import { replayError } from "./codes.ts";

/** Where a log keeps names. */
export interface Names {
  /**
   * Finds the stream of a name, or takes the name. Waits while another request has taken it and has no
   * stream yet.
   *
   * @param commitAfterMs How long a stream of another process may go without an event before it is
   * joined.
   * @throws {StreamError} `stream_exists` if the name is that of another request; `log_unavailable` if
   * the log cannot be reached, or who has taken the name begins no stream.
   */
  claim(run: Run, commitAfterMs: number): Promise<RunClaim>;
  /** The id of the stream of a name, if it has one or is about to. */
  find(key: string): Promise<string | undefined>;
}

interface Named {
  readonly streamId: string;
  readonly digest: string;
  /** Resolves when there is a stream, or the name is free again. */
  readonly settled: Promise<void>;
  readonly settle: () => void;
  isBegun: boolean;
}

/** The names of the streams that are in one process's memory, or about to be. */
export class RunNames implements Names {
  readonly #names = new Map<string, Named>();

  async claim(run: Run): Promise<RunClaim> {
    for (;;) {
      const named = this.#names.get(run.key);
      if (named === undefined) return this.#take(run);
      if (named.digest !== run.digest) throw otherRequest();
      if (named.isBegun) return joins(named.streamId);
      await named.settled;
    }
  }

  async find(key: string): Promise<string | undefined> {
    for (;;) {
      const named = this.#names.get(key);
      if (named === undefined || named.isBegun) return named?.streamId;
      await named.settled;
    }
  }

  /** Called when the stream of a name is recorded. */
  begin(key: string): void {
    const named = this.#names.get(key);
    if (named === undefined) return;
    named.isBegun = true;
    named.settle();
  }

  /** Frees the name of a stream, unless another stream has it. Returns whether it was this one's. */
  free(key: string, streamId: string): boolean {
    const named = this.#names.get(key);
    if (named?.streamId !== streamId) return false;
    this.#names.delete(key);
    named.settle();
    return true;
  }

  #take(run: Run): RunClaim {
    const { key, digest } = run;
    const streamId = createStreamId();
    let settle = () => {};
    const settled = new Promise<void>((resolve) => settle = resolve);
    const named: Named = { streamId, digest, settled, settle, isBegun: false };
    this.#names.set(key, named);
    return { streamId, run, settle: () => !named.isBegun && this.free(key, streamId) };
  }
}

/** A claim of a name that has a stream. */
export function joins(streamId: string): RunClaim {
  return { streamId, run: undefined, settle: () => false };
}

/** The error where a name is that of another request. */
export function otherRequest(): StreamError {
  const detail = "The X-Run-Id is that of a request with another body";
  return replayError("stream_exists", { detail });
}

/** The key of a name: no other owner's name makes the same one, and nobody can tell the name from it. */
export function runKey(owner: string | undefined, runId: string): Promise<string> {
  return sha256(new TextEncoder().encode(JSON.stringify([owner, runId])));
}
