/**
 * What is read from and written to a replay file, one stream at a time. Separate from the store
 * because nothing here waits or knows of transactions: the store calls it within one.
 */
import type {
  AppendResult,
  Producer,
  StoredPiece,
  StoredStream,
  StreamAppend,
  StreamPart,
  StreamRead,
} from "../shared/event_store.ts";
import type { Database, Row, Statement } from "./database.ts";

/** An expiry is written again once so much of it is over, or a tenth of it, and not with each append. */
const RENEW_MS = 10_000;
/** For so long after a stream has begun, the look-up of an unknown one may be repeated. */
const BEGUN_MS = 1000;
/** A message that was not read for so long never will be. */
const MESSAGE_MS = 10_000;
/** So many rows of a table are deleted at a time, a MiB of events at most, and for so long, in ms. */
const SWEEP_ROWS = 10;
const SWEEP_MS = 2;
/** Pieces are read so many at a time, because how long they are is seen only then. */
const READ_ROWS = 8;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A stream that is held. */
interface Held {
  readonly id: number;
  readonly producer: string;
  readonly first: number;
  readonly ending: number | null;
  readonly lost: number;
  readonly begun: number;
  readonly until: number;
}

/** The statements of one connection. */
export class Tables {
  readonly #database: Database;
  readonly #now: () => number;
  readonly #statements = new Map<string, Statement>();

  /** @param now The time in ms, the same in all processes that share the file. */
  constructor(database: Database, now: () => number) {
    this.#database = database;
    this.#now = now;
  }

  /** A statement, prepared once. */
  statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      this.#statements.set(sql, statement = this.#database.prepare(sql));
    }
    return statement;
  }

  append(producer: Producer, append: StreamAppend): AppendResult {
    const { streamId, chat, info, first, end, pieces } = append;
    let held = this.#held(streamId);
    if (held !== undefined && held.producer !== producer.id) return { state: "taken" };
    if (held?.lost) return { state: "lost" };
    let last = held && this.#lastOf(held);
    if (held === undefined || last === undefined) {
      if (info === undefined) return { state: "missing" };
      this.#unname(streamId);
      held = this.#begin(producer, streamId, info, chat);
      last = 0;
    }
    for (const piece of pieces) {
      if (piece.first > last + 1 && piece.first > first) break;
      if (piece.last <= last) continue;
      this.#addPiece(held.id, piece);
      last = piece.last;
    }
    if (first > held.first) {
      this.statement("delete from pieces where stream = ? and last < ?").run(held.id, first);
    }
    const isEnd = end !== undefined && last === append.last;
    const untilMs = this.#now() + (isEnd ? producer.keepMs : producer.liveMs);
    const isOld = held.until < untilMs - Math.min(RENEW_MS, producer.liveMs / 10);
    if (isEnd || isOld || first > held.first) {
      this.statement(
        "update streams set first = max(first, ?), ending = coalesce(ending, ?), until = ? where id = ?",
      ).run(first, isEnd ? end : null, untilMs, held.id);
    }
    return { state: "ok", last };
  }

  #begin(producer: Producer, name: string, info: string, chat: string | undefined): Held {
    const nowMs = this.#now();
    const { id } = this.statement(
      "insert into streams (name, producer, first, lost, begun, until) values (?, ?, 1, 0, ?, ?) returning id",
    ).get(name, producer.id, nowMs, nowMs + producer.liveMs) as { id: number };
    const bytes = chat === undefined ? null : encoder.encode(chat);
    this.statement("insert into infos values (?, ?, ?)").run(id, encoder.encode(info), bytes);
    if (bytes !== null) this.statement("insert or replace into chats values (?, ?)").run(bytes, id);
    const until = nowMs + producer.liveMs;
    return { id, producer: producer.id, first: 1, ending: null, lost: 0, begun: nowMs, until };
  }

  #addPiece(stream: number, { first, last, text }: StoredPiece): void {
    const bytes = encoder.encode(text);
    this.statement("insert into pieces (stream, first, last, sum, events) values (?, ?, ?, ?, ?)")
      .run(stream, first, last, sumOf(stream, first, last, bytes), bytes);
  }

  read({ streamId, after }: StreamRead, maxLength: number): StreamPart | undefined {
    const held = this.#held(streamId);
    const last = held && this.#lastOf(held);
    if (held === undefined || last === undefined) return undefined;
    const state = {
      last,
      end: held.ending ?? undefined,
      isLost: held.lost === 1,
      isAlive: this.#isAlive(held.producer),
    };
    const pieces: StoredPiece[] = [];
    let length = 0;
    for (let from = after;;) {
      const rows = this.statement(
        "select first, last, sum, events from pieces where stream = ? and last > ? order by last " +
          `limit ${READ_ROWS}`,
      ).all(held.id, from);
      for (const row of rows) {
        if (length >= maxLength) return { ...state, pieces };
        const piece = pieceOf(held.id, row);
        if (piece === undefined) return { ...state, pieces: [], error: "its events were damaged" };
        pieces.push(piece);
        length += (row.events as Uint8Array).length;
        from = piece.last;
      }
      if (rows.length < READ_ROWS) return { ...state, pieces };
    }
  }

  /** Finds a stream; `null` if none has begun of late. */
  find(streamId: string): StoredStream | undefined | null {
    const held = this.#held(streamId);
    const last = held && this.#lastOf(held);
    if (held === undefined || last === undefined) {
      const latest = this.statement("select begun from streams order by id desc limit 1").get();
      const isQuiet = latest === undefined || latest.begun as number < this.#now() - BEGUN_MS;
      return isQuiet ? null : undefined;
    }
    const info = this.statement("select info from infos where stream = ?").get(held.id);
    const firstPiece = this.statement(
      "select first from pieces where stream = ? order by last limit 1",
    ).get(held.id);
    return {
      producerId: held.producer,
      info: info === undefined ? "" : decoder.decode(info.info as Uint8Array),
      first: firstPiece === undefined ? last + 1 : firstPiece.first as number,
      last,
      end: held.ending ?? undefined,
      isLost: held.lost === 1,
    };
  }

  latest(chat: string): string | undefined {
    const row = this.statement(
      "select name from chats join streams on streams.id = stream where chats.chat = ? and until > ?",
    ).get(encoder.encode(chat), this.#now());
    return row?.name as string | null | undefined ?? undefined;
  }

  /** Forgets a stream of a producer, and its chat if it is the chat's latest. */
  forget(producerId: string, streamId: string, chat: string | undefined): void {
    const held = this.#held(streamId);
    if (held?.producer !== producerId) return;
    this.#unname(streamId);
    if (chat === undefined) return;
    this.statement("delete from chats where chat = ? and stream = ?")
      .run(encoder.encode(chat), held.id);
  }

  markLost(
    caller: Producer,
    { streamId, producerId, last }: { streamId: string; producerId: string; last: number },
  ): boolean {
    const held = this.#held(streamId);
    if (held?.producer !== producerId || held.ending !== null) return false;
    if (this.#lastOf(held) !== last) return false;
    if (held.lost) return true;
    if (caller.id !== producerId && this.#isAlive(producerId)) return false;
    this.statement("update streams set lost = 1, until = ? where id = ?")
      .run(this.#now() + caller.keepMs, held.id);
    return true;
  }

  renew({ id, leaseMs }: Producer): void {
    const untilMs = this.#now() + leaseMs;
    const row = this.statement("select until from leases where process = ?").get(id);
    if (row !== undefined && row.until as number > untilMs - leaseMs / 10) return;
    this.statement("insert or replace into leases values (?, ?)").run(id, untilMs);
  }

  leave(producerId: string): void {
    this.statement("delete from leases where process = ?").run(producerId);
  }

  publish(process: string, text: string): void {
    this.statement("insert into messages (process, until, body) values (?, ?, ?)")
      .run(process, this.#now() + MESSAGE_MS, encoder.encode(text));
  }

  /** The messages to a process between two numbers, without the first and with the last. */
  messages(process: string, after: number, last: number): string[] {
    const rows = this.statement(
      "select body from messages where id > ? and id <= ? and process = ? order by id",
    ).all(after, last, process);
    return rows.map(({ body }) => decoder.decode(body as Uint8Array));
  }

  /** The number of the last message of all; 0 if there was none. */
  lastMessage(): number {
    const row = this.statement("select seq from sqlite_sequence where name = 'messages'").get();
    return (row?.seq ?? 0) as number;
  }

  /** Changes when another connection has written. */
  version(): number {
    return this.statement("pragma data_version").get()!.data_version as number;
  }

  /** Writes something and takes it back, to see whether there is room. */
  probe(): void {
    this.statement("insert into probes values (2, zeroblob(65536))").run();
    this.statement("delete from probes where id = 2").run();
  }

  /** Whether something is over that `sweep` would delete. */
  isSwept(): boolean {
    const nowMs = this.#now();
    return ["streams", "leases", "messages"].every((table) =>
      this.statement(`select 1 from ${table} where until <= ? limit 1`).get(nowMs) === undefined
    );
  }

  /** Deletes some of what is over. Returns whether there may be more. */
  sweep(): boolean {
    const nowMs = this.#now();
    let isMore = false;
    for (
      const sql of [
        "delete from pieces where id in (select pieces.id from streams join pieces on " +
        "pieces.stream = streams.id where streams.until <= ? limit ",
        "delete from chats where (chat, stream) in (select chat, stream from infos join streams on " +
        "streams.id = stream where streams.until <= ? and chat is not null limit ",
        "delete from infos where stream in (select id from streams where until <= ? " +
        "and not exists (select 1 from chats where chats.chat = infos.chat and chats.stream = id) limit ",
        "delete from streams where id in (select id from streams as over where until <= ? and not exists " +
        "(select 1 from pieces where stream = over.id) and not exists " +
        "(select 1 from infos where stream = over.id) limit ",
        "delete from leases where process in (select process from leases where until <= ? limit ",
        "delete from messages where id in (select id from messages where until <= ? limit ",
      ]
    ) {
      let count: number;
      do {
        const { changes } = this.statement(`${sql}${SWEEP_ROWS})`).run(nowMs) as {
          changes: number;
        };
        count = Number(changes);
      } while (count >= SWEEP_ROWS && this.#now() - nowMs < SWEEP_MS);
      isMore ||= count >= SWEEP_ROWS;
    }
    return isMore;
  }

  #held(name: string): Held | undefined {
    const row = this.statement(
      "select id, producer, first, ending, lost, begun, until from streams where name = ? and until > ?",
    ).get(name, this.#now());
    return row as unknown as Held | undefined;
  }

  /** The number of a stream's last event; `undefined` if the stream had events and has none. */
  #lastOf({ id, first }: Held): number | undefined {
    const row = this.statement(
      "select last from pieces where stream = ? order by last desc limit 1",
    ).get(id);
    if (row !== undefined) return row.last as number;
    return first > 1 ? undefined : 0;
  }

  /** Takes the name of a stream away; what is left of it is deleted by `sweep`. */
  #unname(name: string): void {
    this.statement("update streams set name = null, until = 0 where name = ?").run(name);
  }

  #isAlive(process: string): boolean {
    const row = this.statement("select until from leases where process = ?").get(process);
    return row !== undefined && row.until as number > this.#now();
  }
}

function pieceOf(stream: number, row: Row): StoredPiece | undefined {
  const { first, last, sum, events } = row as unknown as {
    first: number;
    last: number;
    sum: number;
    events: Uint8Array;
  };
  if (sumOf(stream, first, last, events) !== sum) return undefined;
  return { first, last, text: decoder.decode(events) };
}

/**
 * A checksum of a piece (FNV-1a). SQLite notices a damaged page where it has structure, and not where it
 * has events: a file that was cut off and grew again has zeros there.
 */
function sumOf(stream: number, first: number, last: number, bytes: Uint8Array): number {
  let sum = 0x811c9dc5;
  for (const number of [stream, first, last]) sum = Math.imul(sum ^ number, 0x01000193);
  for (let i = 0; i < bytes.length; i++) sum = Math.imul(sum ^ bytes[i]!, 0x01000193);
  return sum;
}
