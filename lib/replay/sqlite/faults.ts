/**
 * What an error of SQLite means for the log, and what an operator has to do about it. Separate from
 * the file because the numbers and words are SQLite's.
 */

/** The result codes of SQLite that are told apart (https://sqlite.org/rescode.html). */
const BUSY = 5;
const LOCKED = 6;
const CORRUPT = 11;
const NOT_A_DATABASE = 26;

const FAULTS: Readonly<Record<number, string>> = {
  3: "this process may not open it",
  [BUSY]: "another program holds it locked",
  [LOCKED]: "another program holds it locked",
  8: "it is read-only",
  10: "its disk reports an I/O error",
  [CORRUPT]: "it is corrupt; delete it, and what stands beside it under its name",
  13: "its disk is full, or it has its greatest size",
  14: "it cannot be opened: its folder is missing, or this process may not write there",
  [NOT_A_DATABASE]: "it is no database of SQLite",
};

/** Something is wrong with the file of a log. */
export class FileFault extends Error {
  /** Whether nothing that the file holds can be relied on. */
  readonly isFinal: boolean;

  constructor(path: string, fault: string, isFinal = false, cause?: unknown) {
    super(`The replay file ${path} cannot be used: ${fault}`, { cause });
    this.isFinal = isFinal;
  }
}

/** Whether another connection is writing, so that the same call may succeed a little later. */
export function isBusy(error: unknown): boolean {
  return [BUSY, LOCKED].includes(codeOf(error));
}

/** An error of SQLite with what it means; any other error as it is. */
export function explained(error: unknown, path: string): unknown {
  if (error instanceof FileFault) return error;
  const code = codeOf(error);
  const fault = FAULTS[code];
  if (fault === undefined) return error;
  return new FileFault(path, fault, code === CORRUPT || code === NOT_A_DATABASE, error);
}

/** The result code of an error, without what extends it; 0 if it has none. */
function codeOf(error: unknown): number {
  const { errcode, message } = Object(error) as { errcode?: number; message?: string };
  if (errcode !== undefined) return errcode & 0xff;
  // Deno 2.9 gives no code to what goes wrong in opening and in `exec`.
  if (/\bis locked\b/.test(message ?? "")) return BUSY;
  return /\bunable to open\b/.test(message ?? "") ? 14 : 0;
}
