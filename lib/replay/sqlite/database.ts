/**
 * The modules of the runtime that the log needs, and the shapes that are used of them. Separate from
 * the rest because they are asked for when a log is made, not imported: `spillway/sqlite` can be
 * imported where they are missing.
 */

/** What a column holds. */
export type Value = string | number | Uint8Array | null;
export type Row = Readonly<Record<string, Value>>;

/** A prepared statement of `node:sqlite`. */
export interface Statement {
  run(...values: Value[]): unknown;
  get(...values: Value[]): Row | undefined;
  all(...values: Value[]): Row[];
}

/** A database of `node:sqlite`. */
export interface Database {
  exec(sql: string): void;
  prepare(sql: string): Statement;
  close(): void;
}

/** What is used of `node:sqlite`, `node:fs` and `node:worker_threads`. */
export interface Modules {
  readonly sqlite: { readonly DatabaseSync: new (path: string, options: object) => Database };
  readonly files: {
    statSync(path: string, options: { throwIfNoEntry: false }): FileState | undefined;
    openSync(path: string, flags: string, mode: number): number;
    closeSync(file: number): void;
  };
  readonly threads: { readonly Worker: new (code: string, options: object) => Thread };
}

/** What tells one file from another. */
export interface FileState {
  readonly dev: number;
  readonly ino: number;
}

/** A thread of `node:worker_threads`. */
export interface Thread {
  on(event: "message" | "error", listener: (value: unknown) => void): unknown;
  once(event: "exit", listener: () => void): unknown;
  postMessage(message: unknown): void;
  unref(): void;
  terminate(): Promise<unknown>;
}

interface Process {
  getBuiltinModule?(name: string): unknown;
  emitWarning(warning: unknown, ...rest: unknown[]): void;
}

/**
 * Loads the modules.
 *
 * @throws {TypeError} If this runtime has no `node:sqlite`.
 */
export function loadModules(): Modules {
  const { process } = globalThis as { process?: Process };
  const module = (name: string) => process?.getBuiltinModule?.(name);
  const sqlite = process && withoutWarning(process, () => module("node:sqlite"));
  if (sqlite === undefined) {
    throw new TypeError(
      "Cannot open a SqliteLog: this runtime has no node:sqlite, as Bun 1.4, Deno 2.9 and Node 22.13 have",
    );
  }
  const modules = { sqlite, files: module("node:fs"), threads: module("node:worker_threads") };
  return modules as Modules;
}

/** Loads what Node 22 and 24 warn of as experimental. Only that warning is kept away, and only now. */
function withoutWarning<Result>(process: Process, load: () => Result): Result {
  const { emitWarning } = process;
  process.emitWarning = (warning, ...rest) => {
    if (!String(warning).startsWith("SQLite is an experimental feature")) {
      emitWarning.call(process, warning, ...rest);
    }
  };
  try {
    return load();
  } finally {
    process.emitWarning = emitWarning;
  }
}
