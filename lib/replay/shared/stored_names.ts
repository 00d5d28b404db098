/**
 * Names that clients choose for their generations, in the store. A name is held there as a stream
 * without events, because a store lets one process have a stream: of two that take a name at once, one
 * is told that it is taken. Separate from the log because it needs nothing else of it.
 */
import type { StreamError } from "../../error.ts";
import type { Run, RunClaim } from "../../http/replay_log.ts";
import { parseJson } from "../../values.ts";
import { replayError } from "../codes.ts";
import type { LoggedStream } from "../event_log.ts";
import { joins, type Names, otherRequest, type RunNames } from "../run_names.ts";
import type { StoredStream, StreamAppend } from "./event_store.ts";
import type { LogReader } from "./reader.ts";
import type { StoreLink } from "./store_link.ts";

/** How long the process that has taken a name may take to begin its stream, in ms. */
const BEGIN_MS = 5000;
/** How often it is looked for meanwhile. */
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
  /** Names that are being freed: who takes one then must not have it freed after that. */
  readonly #freeing = new Map<string, Promise<void>>();

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
    return {
      ...mine,
      settle: () => {
        const isFree = mine.settle();
        if (isFree) this.free(run.key);
        return isFree;
      },
    };
  }

  /** The id of the stream that has a name now: this one, or another. */
  async #take(run: Run, streamId: string, commitAfterMs: number): Promise<string> {
    const { clock, producer } = this.#link;
    const startMs = clock.now();
    await this.#freeing.get(run.key);
    for (;;) {
      const held = await this.#held(run.key);
      const waitedMs = clock.now() - startMs;
      if (held === undefined) {
        const append = nameAppend(run, streamId, false);
        const [result] = await this.#link.write((store) => store.append(producer, [append]));
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

  /** Frees a name that this process has taken. */
  free(key: string): void {
    const { id } = this.#link.producer;
    const freeing = this.#link.call((store) => store.forget(id, nameId(key), undefined)).catch(
      () => {
        // The store is down: who asks for the name will find that it has no stream.
      },
    ).finally(() => this.#freeing.delete(key));
    this.#freeing.set(key, freeing);
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
export function nameId(key: string): string {
  return `run-${key}`;
}

/** Holds a name for as long as its stream is held; from the end of that, no longer than the stream. */
export function nameAppend({ key, digest }: Run, streamId: string, isOver: boolean): StreamAppend {
  return {
    streamId: nameId(key),
    chat: undefined,
    info: JSON.stringify({ version: 1, run: { streamId, digest } }),
    first: 1,
    last: 0,
    end: isOver ? 1 : undefined,
    pieces: [],
  };
}

/** What {@linkcode nameAppend} has written as the info; `undefined` if it is that of a stream. */
export function parseName(info: string): Held | undefined {
  const { version, run } = Object(parseJson(info));
  const { streamId, digest } = Object(run);
  const isName = version === 1 && typeof streamId === "string" && typeof digest === "string";
  return isName && /^[\w-]{1,128}$/.test(streamId) ? { streamId, digest } : undefined;
}
