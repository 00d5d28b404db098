/**
 * The tables of a replay file, and how one is opened. Separate from the statements because a file of
 * another version, or of another program, is noticed here and left as it is.
 *
 * | table | what |
 * | --- | --- |
 * | `streams` | one row for each stream; without a `name` it is forgotten, and waits to be deleted |
 * | `infos` | what a stream began with: its info and its chat |
 * | `pieces` | events of a stream, in the order in which they were written |
 * | `chats` | the latest stream of each chat |
 * | `leases` | until when each process counts as alive |
 * | `messages` | from one process to another |
 * | `probes` | one row, written to see whether the file takes writes, and after a checkpoint |
 *
 * Texts are kept as bytes in UTF-8, because Deno 2.9 reads a text only to its first U+0000. Times are
 * in ms.
 */
import type { Database, Modules } from "./database.ts";
import { FileFault } from "./faults.ts";

/** "Spwl": what is not marked so is the file of another program. */
const APPLICATION_ID = 0x5370776c;
const VERSION = 1;
/** Large pages: a megabyte in one piece takes a sixth of the time that it takes with 4 KiB. */
const PAGE_BYTES = 16 * 1024;

const TABLES = `
create table streams (
  id integer primary key autoincrement, name text unique, producer text not null,
  first integer not null, ending integer, lost integer not null,
  begun integer not null, until integer not null
) strict;
create index streams_until on streams (until);
create table infos (stream integer primary key, info blob not null, chat blob) strict;
create table pieces (
  id integer primary key, stream integer not null, first integer not null, last integer not null,
  sum integer not null, events blob not null
) strict;
create unique index pieces_of on pieces (stream, last);
create table chats (chat blob primary key, stream integer not null) strict, without rowid;
create table leases (process text primary key, until integer not null) strict, without rowid;
create table messages (
  id integer primary key autoincrement, process text not null, until integer not null,
  body blob not null
) strict;
create table probes (id integer primary key, bytes blob not null) strict;
insert into probes values (1, x'');
pragma application_id = ${APPLICATION_ID};
pragma user_version = ${VERSION};
`;

/** A replay file that was opened. */
export interface Opened {
  readonly database: Database;
  /** Whether it was made just now. Then the disk does not have it before its first checkpoint. */
  readonly isNew: boolean;
}

/**
 * Opens a replay file, and makes it if there is none. Only its owner may read a new one.
 *
 * @throws {FileFault} If the file is of another program or version, or cannot be shared.
 */
export function openDatabase({ sqlite, files }: Modules, path: string, maxBytes: number): Opened {
  if (files.statSync(path, { throwIfNoEntry: false }) === undefined) {
    files.closeSync(files.openSync(path, "a", 0o600));
  }
  const database = new sqlite.DatabaseSync(path, { timeout: 0 });
  try {
    const isNew = checkOwner(database, path);
    // The disk takes 2 to 50 ms for a new file, and here the event loop would wait for it.
    if (isNew) database.exec(`pragma page_size = ${PAGE_BYTES}; pragma synchronous = off`);
    const mode = numberOrText(database, "journal_mode = wal");
    if (mode !== "wal") throw new FileFault(path, "processes cannot share it on its file system");
    // Checkpoints wait for the disk, and so are made by a thread.
    database.exec("pragma wal_autocheckpoint = 0");
    database.exec(`pragma max_page_count = ${Math.max(1, Math.floor(maxBytes / PAGE_BYTES))}`);
    if (isNew) create(database, path);
    database.exec("pragma synchronous = normal");
    return { database, isNew };
  } catch (error) {
    database.close();
    throw error;
  }
}

function create(database: Database, path: string): void {
  database.prepare("begin immediate").run();
  try {
    // Another process may have been first.
    if (checkOwner(database, path)) database.exec(TABLES);
    database.prepare("commit").run();
  } catch (error) {
    try {
      database.prepare("rollback").run();
    } catch {
      // SQLite has rolled it back.
    }
    throw error;
  }
}

/** Checks whose a file is. Returns whether it is empty. */
function checkOwner(database: Database, path: string): boolean {
  const tables = database.prepare("select count(*) as count from sqlite_schema").get()!.count;
  if (tables === 0) return true;
  if (numberOrText(database, "application_id") !== APPLICATION_ID) {
    throw new FileFault(path, "it is the database of another program");
  }
  const version = numberOrText(database, "user_version");
  if (version === VERSION) return false;
  throw new FileFault(path, `it is of version ${version}, and this is version ${VERSION}`);
}

function numberOrText(database: Database, pragma: string): unknown {
  return Object.values(database.prepare(`pragma ${pragma}`).get() ?? {})[0];
}
