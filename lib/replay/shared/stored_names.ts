/**
 * Names that clients choose for their generations, in the store. A name is held there as a stream
 * without events, because a store lets one producer have a stream: of two that take a name at once, one
 * is told that it is taken. Each claim is a producer of its own, under the id of the stream that it is
 * for: who frees an old claim cannot free one that came after it. Separate from the log because it needs
 * nothing else of it.
 */
import type { StreamError } from "../../error.ts";
import type { Run, RunClaim } from "../../http/replay_log.ts";
import { parseJson } from "../../values.ts";
import { replayError } from "../codes.ts";
import type { LoggedStream } from "../event_log.ts";
import { joins, type Names, otherRequest, type RunNames } from "../run_names.ts";
import type { AppendResult, StoredStream, StreamAppend } from "./event_store.ts";
import type { LogReader } from "./reader.ts";
import type { StoreLink } from "./store_link.ts";

/** How long the process that has taken a name may take to begin its stream, in ms. */
const BEGIN_MS = 5000;
/** How often that process says that it still will. */
const RENEW_MS = 3000;
/** How often the stream is looked for meanwhile. */
const LOOK_MS = 50;
/**
 * A generation elsewhere may fail with a status of its own until it commits. It is joined so much later,
 * because its process has begun to wait a little later.
 */
const LATER_MS = 100;

/** What is held under a name. */
interface Held {
  readonly streamId: string;
  readonly digest: string;
}

/** The names in the store. */
export class StoredNames implements Names {
  readonly #memory: RunNames;
  readonly #link: StoreLink;
  readonly #reader: LogReader;
  readonly #find: (streamId: string) => Promise<LoggedStream | undefined>;
  readonly #report: (error: unknown) => void;

  /** @param memory The names that this process has taken. */
  constructor(
    memory: RunNames,
    link: StoreLink,
    reader: LogReader,
    find: (streamId: string) => Promise<LoggedStream | undefined>,
    report: (error: unknown) => void,
  ) {
    this.#memory = memory;
    this.#link = link;
    this.#reader = reader;
    this.#find = find;
    this.#report = report;
  }

  async claim(run: Run, commitAfterMs: number): Promise<RunClaim> {
    const mine = await this.#memory.claim(run);
    if (mine.run === undefined) return mine;
    const { streamId } = mine;
    let held: string | undefined;
    try {
      held = await this.#take(run, streamId, commitAfterMs);
    } finally {
      if (held !== streamId) mine.settle();
    }
    if (held !== streamId) return joins(held);
    const release = this.#keep(run, streamId);
    return {
      ...mine,
      settle: () => {
        release();
        const isFree = mine.settle();
        if (isFree) this.free(run.key, streamId);
        return isFree;
      },
    };
  }

  /** Keeps a claim alive until it is settled: a body may take its time to be checked. */
  #keep(run: Run, streamId: string): () => void {
    const { clock } = this.#link;
    let timer: unknown;
    const renewLater = () => {
      timer = clock.setTimer(
        () => {
          this.hold(run, streamId, false);
          renewLater();
        },
        RENEW_MS,
        true,
      );
    };
    renewLater();
    return () => clock.clearTimer(timer);
  }

  /** The id of the stream that has a name now: this one, or another. */
  async #take(run: Run, streamId: string, commitAfterMs: number): Promise<string> {
    const { clock } = this.#link;
    const startMs = clock.now();
    for (;;) {
      const held = await this.#held(run.key);
      const waitedMs = clock.now() - startMs;
      if (held === undefined) {
        const [result] = await this.#append(run, streamId, false);
        if (result?.state === "ok") return streamId;
        if (result?.state === "failed") throw this.#failed(result.error);
      } else if (held.digest !== run.digest) throw otherRequest();
      else if (held.logged && (hasBegun(held.logged) || waitedMs > commitAfterMs + LATER_MS)) {
        return held.streamId;
      }
      if (waitedMs > BEGIN_MS + commitAfterMs) throw unavailable();
      await new Promise<void>((resolve) => void clock.setTimer(resolve, LOOK_MS));
    }
  }

  async find(key: string): Promise<string | undefined> {
    return await this.#memory.find(key) ?? (await this.#stored(key))?.streamId;
  }

  /** Holds a name for as long as its stream is held; from the end of that, no longer than the stream. */
  hold(run: Run, streamId: string, isOver: boolean): void {
    this.#append(run, streamId, isOver).catch(() => {
      // The store is down: the name is written again when it is back.
    });
  }

  #append(run: Run, streamId: string, isOver: boolean): Promise<readonly AppendResult[]> {
    const producer = { ...this.#link.producer, id: streamId };
    const append: StreamAppend = {
      streamId: nameId(run.key),
      chat: undefined,
      info: JSON.stringify({ version: 1, run: { streamId, digest: run.digest } }),
      first: 1,
      last: 0,
      end: isOver ? 1 : undefined,
      pieces: [],
    };
    return this.#link.write((store) => store.append(producer, [append]));
  }

  /** Frees a name that was taken for a stream. */
  free(key: string, streamId: string): void {
    this.#link.call((store) => store.forget(streamId, nameId(key), undefined)).catch(() => {
      // The store is down: who asks for the name will find that it has no stream.
    });
  }

  async #stored(key: string): Promise<(Held & { readonly stored: StoredStream }) | undefined> {
    const stored = await this.#link.call((store) => store.find(nameId(key)));
    if (stored === undefined || stored === null) return undefined;
    const held = parseName(stored.info);
    if (held === undefined || stored.error !== undefined) {
      throw this.#failed(stored.error ?? "it is held by what is no name");
    }
    return { ...held, stored };
  }

  /** What is held under a name. One whose stream is gone, or never came, is freed. */
  async #held(key: string): Promise<(Held & { readonly logged?: LoggedStream }) | undefined> {
    const held = await this.#stored(key);
    if (held === undefined) return undefined;
    const logged = await this.#find(held.streamId);
    if (logged !== undefined) return { ...held, logged };
    const { producerId, isLost, end } = held.stored;
    const streamId = nameId(key);
    // While its process lives, the stream may be about to begin.
    const isOver = isLost || end !== undefined ||
      await this.#reader.markProducerLost({ streamId, producerId, isOver: false }, 0);
    if (!isOver) return held;
    await this.#link.call((store) => store.forget(producerId, streamId, undefined));
    return undefined;
  }

  #failed(fault: string): StreamError {
    this.#report(new Error(`The store rejects a name: ${fault}`));
    return unavailable();
  }
}

/** Whether a generation can no longer fail with a status of its own. */
function hasBegun({ isRemote, lastEvent, endEvent, isLost }: LoggedStream): boolean {
  return !isRemote || lastEvent > 0 || endEvent !== undefined || isLost === true;
}

function unavailable(): StreamError {
  return replayError("log_unavailable", { retryAfter: 1 });
}

/** The id under which a name is held. */
function nameId(key: string): string {
  return `run-${key}`;
}

/** What is held, by the info that was written; `undefined` if that is the info of a stream. */
export function parseName(info: string): Held | undefined {
  const { version, run } = Object(parseJson(info));
  const { streamId, digest } = Object(run);
  const isName = version === 1 && typeof streamId === "string" && typeof digest === "string";
  return isName && /^[\w-]{1,128}$/.test(streamId) ? { streamId, digest } : undefined;
}
