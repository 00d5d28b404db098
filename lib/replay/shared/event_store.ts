/**
 * The interface of a store: where a `SharedLog` keeps a copy of its streams for other processes.
 * Separate from the log because a store knows neither formats nor HTTP, readers nor pace: it keeps
 * texts under numbers, and one lease for each process. `docs/write_your_own_store.md` has an example.
 */

/**
 * Complete events of a stream that follow each other, as one text.
 *
 * Each text that a store is given is any well-formed Unicode, U+0000 and U+FEFF included, and MUST be
 * returned as it was. Where a text column does not take that (PostgreSQL's; SQLite's on Deno), keep
 * its bytes in UTF-8.
 */
export interface StoredPiece {
  /** Number of the first event; events are numbered from 1. */
  readonly first: number;
  /** Number of the last event. */
  readonly last: number;
  /** The events, complete, as the format wrote them. */
  readonly text: string;
}

/**
 * A process that uses the store: it makes streams, reads them, or both. Also a claim of a name that a
 * client has given its generation: it has one stream, which never has events.
 */
export interface Producer {
  /** Its id: 22 characters of base64url. */
  readonly id: string;
  /** How long its lease holds after each renewal, in ms. */
  readonly leaseMs: number;
  /** How long a stream that goes on is kept after its last append, in ms. */
  readonly liveMs: number;
  /** How long a stream is kept after its end, in ms, 1 or more. */
  readonly keepMs: number;
}

/** What is to be appended to one stream. */
export interface StreamAppend {
  /** The stream id: 1 to 128 of `A-Z a-z 0-9 _ -`. */
  readonly streamId: string;
  /** The chat of which this becomes the latest stream when it is new, as one text; unless it has none. */
  readonly chat: string | undefined;
  /** A text of the log, which `find` returns; absent if the producer knows that the store has it. */
  readonly info: string | undefined;
  /** Number of the first event that the producer still holds. */
  readonly first: number;
  /** Number of the last event that the store should have after this append. */
  readonly last: number;
  /** Number of the first event of the end, if event `last` is the last of all. */
  readonly end: number | undefined;
  /** 256 KiB of events, or one piece, at most; none if only the stream is to be kept. */
  readonly pieces: readonly StoredPiece[];
}

/**
 * What became of one append.
 *
 * - `ok`: the store has the events up to `last`, which may be fewer than were sent.
 * - `missing`: it does not have the stream, and was not given its `info`.
 * - `taken`: the stream is another producer's.
 * - `lost`: the stream was marked as lost.
 * - `failed`: the store rejects this stream, and takes the others.
 */
export type AppendResult =
  | { readonly state: "ok"; readonly last: number }
  | { readonly state: "missing" | "taken" | "lost" }
  | { readonly state: "failed"; readonly error: string };

/** A stream as the store has it. Numbers are numbers, and what is missing is `undefined`, not `null`. */
export interface StoredStream {
  /** The id of the process that makes the stream, or made it. */
  readonly producerId: string;
  /** The text that the stream began with. */
  readonly info: string;
  /** Number of the first event that is held; one past `last` where none is. */
  readonly first: number;
  /** Number of the last event; 0 where there is none. */
  readonly last: number;
  /** Number of the first event of the end; `undefined` while the stream goes on. */
  readonly end: number | undefined;
  /** Whether the stream was marked as lost: nothing comes after event `last`. */
  readonly isLost: boolean;
  /** Why the events cannot be read, if the store has them and cannot read them. */
  readonly error?: string;
}

/** What is to be read of one stream. */
export interface StreamRead {
  /** The stream id. */
  readonly streamId: string;
  /** The producer, as `find` returned it. */
  readonly producerId: string;
  /** What comes after the event with this number is wanted, 0 to 10 ** 15. */
  readonly after: number;
}

/** What was read of one stream. */
export interface StreamPart {
  /** Number of the last event that is held; 0 where there is none. */
  readonly last: number;
  /** Number of the first event of the end; `undefined` while the stream goes on. */
  readonly end: number | undefined;
  /** Whether the stream was marked as lost: nothing comes after event `last`. */
  readonly isLost: boolean;
  /** Whether the lease of the producer holds. */
  readonly isAlive: boolean;
  /** In order. The first one may begin before the wanted event, or, after a gap, later. */
  readonly pieces: readonly StoredPiece[];
  /** Why the events cannot be read, if the store has them and cannot read them; nothing else counts then. */
  readonly error?: string;
}

/**
 * Where a {@linkcode SharedLog} keeps its streams. Many processes use one store, each through an
 * object of its own.
 *
 * Each method MUST be atomic: what other processes call meanwhile sees all of it or nothing. Each
 * MUST reject if the store cannot be reached; it is called again then, after 100 ms to 5 s. A call
 * that takes more than 2 s counts as failed, so one that is carried out later, or twice, MUST do no
 * harm. No method is called before a stream needs it, except `subscribe` and `renew`.
 *
 * A call that is rejected is an outage of the whole store: while it lasts, only `append` and `renew`
 * end it. What is wrong with one stream (a value that the store cannot read) MUST be in the result, and
 * not reject the call, so that no other stream has a part in it.
 *
 * A store MAY forget anything at any time; it MUST NOT return a stream with other events than were
 * appended. It SHOULD drop streams and leases by itself when their time is over.
 */
export interface EventStore {
  /**
   * Appends to streams, and renews the lease of `producer`. Called at most twenty times a second
   * for a stream, with up to 50 streams, and never for one stream again before it has settled.
   *
   * For each stream, in this order:
   *
   * 1. If another producer has the stream, the result MUST be `taken`; if it is marked as lost,
   *    `lost`; if the store does not have it, or has lost a part of it, and `info` is absent,
   *    `missing`.
   * 2. A new stream begins with `info` and without events, and becomes the latest of its `chat`.
   * 3. For each piece, in order: it MUST be skipped if it ends with the last event that is held or
   *    before; it MUST be kept if it begins with the event after that or before, or with event `first`
   *    (there is a gap then, which `read` returns as it is); else it MUST be left out with all after it.
   * 4. Pieces that end before `first` MUST be dropped.
   * 5. If the last event is `last` now and `end` is given, the stream has ended (an `end` that it has
   *    already stays): it is kept for
   *    `keepMs` from now on, and else for `liveMs`. So is its chat, while it is the chat's latest.
   *
   * @returns One result for each append, in their order.
   */
  append(
    producer: Producer,
    appends: readonly StreamAppend[],
  ): Promise<readonly AppendResult[]>;
  /**
   * Reads what comes after an event, of up to 32 streams, or up to 32 times of one.
   *
   * @param maxLength A part has pieces until they have so many characters, or bytes in UTF-8; the piece
   * that reaches it is included.
   * @returns One part for each read, in their order; `undefined` for a stream that is not held, or
   * only in part.
   */
  read(
    reads: readonly StreamRead[],
    maxLength: number,
  ): Promise<readonly (StreamPart | undefined)[]>;
  /**
   * Finds a stream. SHOULD reject while the store has no such stream and takes no writes: it may be
   * one that could not be written.
   *
   * @returns `undefined` if the stream is not held; it is looked up again then, up to three times in
   * 200 ms, because its first append may be on its way. `null` says that no append has begun a stream
   * within the last second: it is looked up once more, at the end of that time.
   */
  find(streamId: string): Promise<StoredStream | undefined | null>;
  /** Finds the id of the latest stream of a chat. */
  latest(chat: string): Promise<string | undefined>;
  /**
   * Removes a stream, and its chat if it is the chat's latest. MUST do nothing if the stream is not
   * of that producer.
   */
  forget(producerId: string, streamId: string, chat: string | undefined): Promise<void>;
  /**
   * Marks a stream as lost: it ends after event `last`, no append is taken any more, and it is kept
   * for `keepMs`.
   *
   * MUST do nothing if the stream is not of `producerId`, has ended, or has another last event; nor
   * may it, unless `producerId` is the caller itself, while the lease of `producerId` holds. A store
   * that may lose its leases and keep its streams, as by a restart, MUST return `false` for the first
   * `leaseMs` after. Leases that ran out while the store was away have run out.
   *
   * @returns Whether the stream is lost now.
   */
  markLost(
    caller: Producer,
    stream: { readonly streamId: string; readonly producerId: string; readonly last: number },
  ): Promise<boolean>;
  /** Renews the lease of a process. Also called to see whether the store can be reached again. */
  renew(producer: Producer): Promise<void>;
  /** Ends the lease of a process, which is about to close its log. */
  leave(producerId: string): Promise<void>;
  /**
   * Sends a message to a process, which MAY get lost. Messages have 200 KB at most, and go to a
   * process at most some 20 times a second.
   */
  publish(processId: string, message: string): Promise<void>;
  /**
   * Listens to the messages for this process, and settles when it does. Called again with the same
   * listener while nothing is heard: it MUST listen anew where that was lost, and MUST NOT call the
   * listener twice for one message.
   */
  subscribe(processId: string, listener: (message: string) => void): Promise<void>;
  /**
   * Tells the operator once, when the store is first reached, what is set in a way that the log cannot
   * rely on, as one sentence for `onError`.
   */
  inspect?(): Promise<string | undefined>;
  /** Ends what the store has opened, as the last call. */
  close?(): void | Promise<void>;
}
